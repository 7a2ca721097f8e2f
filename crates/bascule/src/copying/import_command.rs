//! `bascule import aws`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::cloud::Cloud;
use super::near::{Near, Report};
use super::{make, read};
use crate::aws_client::Credentials;
use crate::cli::ImportAws;
use crate::{CREDENTIALS_FILE, Usage, nearby};

pub(crate) fn run(arguments: &ImportAws) -> Result<()> {
    let given = certificates(&arguments.certificate)?;
    let data_dir = nearby::data_dir(arguments.data_dir.as_ref())?;
    let ours = Credentials::from_file(&data_dir.join(CREDENTIALS_FILE))?;
    let url = arguments.to_url.clone().unwrap_or_else(|| nearby::url_of_data_dir(&data_dir));
    let region = arguments.to_region.as_ref().unwrap_or(&arguments.region);
    let there = arguments.endpoint_url.as_deref();
    if there == Some(url.as_str()) && *region == arguments.region {
        return Err(Usage(format!("{url} is both what is read and what is written")).into());
    }
    let far = Cloud::new(there, &arguments.region, &theirs(arguments)?)?;
    let landscape = read::landscape(&far, &arguments.endpoint_id)
        .with_context(|| format!("cannot read {}", there.unwrap_or("AWS")))?;
    let near = Cloud::new(Some(&url), region, &ours)?;
    let mut near = Near::open(near).with_context(|| format!("cannot read {url}"))?;
    let done = make::landscape(&mut near, &far, &landscape, &given);
    let Report { made, kept, to_do, failed } = near.into_report();
    for what in &to_do {
        out!("to do {what}");
    }
    out!("{} endpoints read: {made} made, {kept} kept, {} to do", landscape.endpoints.len(), to_do.len());
    done?;
    if failed > 0 {
        bail!("{failed} things could not be made; call again when the above is seen to, what stands is kept");
    }
    Ok(())
}

/// `THEIRS=OURS`.
fn certificates(given: &[String]) -> Result<BTreeMap<String, String>> {
    let one = |text: &String| match text.split_once('=') {
        Some((theirs, ours)) if theirs.starts_with("arn:") && ours.starts_with("arn:") => {
            Ok((theirs.to_owned(), ours.to_owned()))
        }
        _ => Err(Usage(format!("--certificate {text}: expecting THEIR_ARN=OUR_ARN")).into()),
    };
    given.iter().map(one).collect()
}

/// The profile that was named, else the environment's key, else profile `default`.
fn theirs(arguments: &ImportAws) -> Result<Credentials> {
    if let (None, Some(key)) = (&arguments.profile, nearby::key_of_environment()) {
        return Ok(key);
    }
    let file = nearby::set("AWS_SHARED_CREDENTIALS_FILE").map_or_else(
        || PathBuf::from(nearby::set("HOME").unwrap_or_default()).join(".aws/credentials"),
        PathBuf::from,
    );
    Credentials::from_profile(&file, arguments.profile.as_deref().unwrap_or("default"))
}
