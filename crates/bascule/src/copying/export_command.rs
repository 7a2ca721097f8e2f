//! `bascule export terraform`.

use std::path::Path;

use anyhow::{Context, Result};

use super::cloud::Cloud;
use super::terraform::{self, ProviderBlock};
use super::{certificates, read};
use crate::cli::ExportTerraform;
use crate::{nearby, output};

pub(crate) fn run(arguments: &ExportTerraform) -> Result<()> {
    let data_dir = nearby::data_dir(arguments.data_dir.as_ref())?;
    let url = nearby::url(arguments.endpoint_url.as_ref(), &data_dir);
    let region = nearby::region(arguments.region.as_ref());
    let cloud = Cloud::new(Some(&url), &region, &nearby::credentials(&data_dir)?)?;
    let landscape =
        read::landscape(&cloud, &arguments.endpoint_id).with_context(|| format!("cannot read {url}"))?;
    let domains = certificates::domains(&cloud, &landscape);
    let provider = ProviderBlock { url: &url, region: &region };
    let provider = arguments.provider.then_some(&provider);
    let text = terraform::text(&landscape, &domains, provider, arguments.import_blocks);
    match &arguments.output {
        Some(path) => write(path, &text),
        None => {
            output::text(text.as_bytes());
            Ok(())
        }
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
