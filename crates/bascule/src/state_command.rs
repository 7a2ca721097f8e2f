//! `bascule state`: the caller's account as a whole, deleted, saved and loaded through the API (`docs/testing.md`).

use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::{Context, Result};

use crate::aws_client::AwsClient;
use crate::cli::{State, StateCommand};
use crate::{Usage, nearby, private_file};

/// Most bytes of a file that is loaded: what the server takes.
const FILE_MAX_BYTES: usize = api::MAX_BODY_BYTES;

pub(crate) fn run(arguments: &State) -> Result<()> {
    let data_dir = nearby::data_dir(arguments.data_dir.as_ref())?;
    let key = nearby::credentials(&data_dir)?;
    let client = AwsClient::new(&nearby::url(None, &data_dir), &nearby::region(None), key)?;
    match &arguments.command {
        StateCommand::Reset => {
            client.own("reset", b"").context("the account is not reset")?;
        }
        StateCommand::Save { file } => {
            let snapshot = client.own("snapshot", b"").context("the state is not saved")?;
            if file == Path::new("-") {
                let mut to = std::io::stdout();
                // A state that is cut off is none: that nobody takes the rest is a failure.
                to.write_all(snapshot.as_bytes()).and_then(|()| to.flush()).context("cannot write it out")?;
            } else {
                private_file::write(file, &snapshot)?;
            }
        }
        StateCommand::Load { file } => {
            client.own("restore", &read(file)?).context("the state is not loaded")?;
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    let limit = u64::try_from(FILE_MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|opened| opened.take(limit).read_to_end(&mut bytes))
    };
    read.with_context(|| format!("cannot read {}", file.display()))?;
    if bytes.len() > FILE_MAX_BYTES {
        return Err(Usage(format!("{}: more than {FILE_MAX_BYTES} bytes", file.display())).into());
    }
    Ok(bytes)
}
