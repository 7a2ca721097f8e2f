//! `bascule keys`: the root's access keys of a data directory, whether its server runs or not.

use anyhow::Result;
use store::MasterKey;

use crate::Usage;
use crate::cli::{Keys, KeysCommand};
use crate::config;
use crate::credentials::CREDENTIALS_FILE;
use crate::root_keys::RootKeys;

pub(crate) fn run(arguments: Keys) -> Result<()> {
    let (data_dir, master_key_file) =
        config::place(arguments.config.as_deref(), arguments.data_dir, arguments.master_key_file)?;
    if !data_dir.is_dir() {
        return Err(Usage(format!("data-dir = {}: there is no such folder", data_dir.display())).into());
    }
    let wrong = |why: &dyn std::fmt::Display| {
        Usage(format!("master-key-file = {}: {why}", master_key_file.display()))
    };
    if !master_key_file.exists() {
        return Err(wrong(&"there is no such file; the first `bascule serve` makes it").into());
    }
    let master_key = MasterKey::load_or_create(&master_key_file).map_err(|error| wrong(&error))?;
    let mut keys = RootKeys::open(&data_dir, &master_key)?;
    match arguments.command {
        KeysCommand::List => {
            let told = keys.told();
            for key in keys.keys() {
                let state = if key.active { "active" } else { "disabled" };
                let note = if told.as_ref() == Some(&key.key.id) { "  in credentials" } else { "" };
                out!("{}  {state:<8}  {}{note}", key.key.id, key.created_at);
            }
        }
        KeysCommand::Rotate => {
            let id = keys.rotate()?;
            out!("{id} is active and stands in {}", data_dir.join(CREDENTIALS_FILE).display());
            for old in keys.keys().iter().filter(|key| key.active && key.key.id != id) {
                out!("{0} stays active until `bascule keys disable {0}`", old.key.id);
            }
        }
        KeysCommand::Disable { id } => {
            keys.switch(&id, false)?;
            out!("{id} is disabled");
        }
        KeysCommand::Enable { id } => {
            keys.switch(&id, true)?;
            out!("{id} is active");
        }
    }
    Ok(())
}
