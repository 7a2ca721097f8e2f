//! What an import has made here: found again by a tag that says where it came from.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::cloud::{Cloud, Pairs, pair};
use super::landscape::Tags;
use crate::aws_client::AwsError;

/// The tag of everything an import makes: the id it was copied from.
pub(super) const MARK: &str = "bascule:imported-from";

/// The side that is written.
pub(super) struct Near {
    pub cloud: Cloud,
    /// Ours by theirs.
    ids: BTreeMap<String, String>,
    report: Report,
}

/// What an import comes to.
#[derive(Default)]
pub(super) struct Report {
    pub made: usize,
    pub kept: usize,
    /// What an operator has to see to.
    pub to_do: Vec<String>,
    /// What could not be made.
    pub failed: usize,
}

impl Near {
    /// Finds what earlier imports have made.
    pub(super) fn open(cloud: Cloud) -> Result<Self> {
        let asked = [pair("Filter.1.Name", "key"), pair("Filter.1.Value.1", MARK)];
        let rows = cloud.list("DescribeTags", &asked, "tagSet")?;
        let marked =
            rows.iter().filter_map(|row| Some((row.optional("value")?, row.optional("resourceId")?)));
        let ids = marked.collect();
        Ok(Self { cloud, ids, report: Report::default() })
    }

    /// What stands here for one of theirs.
    pub(super) fn id(&self, theirs: &str) -> Option<&String> {
        self.ids.get(theirs)
    }

    /// The same where it must be there.
    pub(super) fn known(&self, theirs: &str) -> Result<String> {
        self.id(theirs).cloned().with_context(|| format!("{theirs} was not found there"))
    }

    /// Notes what stands for one of theirs.
    pub(super) fn note(&mut self, theirs: &str, ours: &str) {
        self.ids.insert(theirs.to_owned(), ours.to_owned());
    }

    /// Says that it was there already.
    pub(super) fn kept(&mut self, what: &str, theirs: &str, ours: &str) {
        self.report.kept += 1;
        out!("kept  {what} {ours} (from {theirs})");
    }

    /// Makes something with an id.
    pub(super) fn make(
        &mut self,
        what: &str,
        theirs: &str,
        action: &str,
        pairs: &[(String, String)],
        id_path: &str,
    ) -> Result<String> {
        let answer =
            self.cloud.ec2(action, pairs).with_context(|| format!("{what} like {theirs}: {action}"))?;
        let ours = answer.text(id_path)?;
        self.made(&format!("{what} {ours} (from {theirs})"));
        self.note(theirs, &ours);
        Ok(ours)
    }

    /// Says that something was made.
    pub(super) fn made(&mut self, what: &str) {
        self.report.made += 1;
        out!("made  {what}");
    }

    /// Makes something that belongs to another; a refusal is noted and the rest goes on.
    pub(super) fn add(&mut self, what: &str, action: &str, pairs: &[(String, String)]) -> Result<bool> {
        match self.cloud.ec2(action, pairs) {
            Ok(_) => {
                self.made(what);
                Ok(true)
            }
            Err(refused @ AwsError::Refused { .. }) => {
                self.fail(format!("{what}: {refused}"));
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Leaves something to the operator.
    pub(super) fn leave(&mut self, what: impl Into<String>) {
        self.report.to_do.push(what.into());
    }

    /// The same for what was to be made and could not be.
    pub(super) fn fail(&mut self, what: impl Into<String>) {
        self.report.failed += 1;
        self.leave(what);
    }

    /// The end.
    pub(super) fn into_report(self) -> Report {
        self.report
    }
}

/// Tags of something to be made, with the mark.
pub(super) fn marked(kind: &str, theirs: &str, tags: &Tags) -> Pairs {
    let mut tags = tags.clone();
    tags.insert(MARK.to_owned(), theirs.to_owned());
    tagged(kind, &tags)
}

/// Tags of something to be made.
pub(super) fn tagged(kind: &str, tags: &Tags) -> Pairs {
    if tags.is_empty() {
        return Pairs::new();
    }
    let mut pairs = vec![pair("TagSpecification.1.ResourceType", kind)];
    for (n, (key, value)) in tags.iter().enumerate() {
        pairs.push(pair(format!("TagSpecification.1.Tag.{}.Key", n + 1), key));
        pairs.push(pair(format!("TagSpecification.1.Tag.{}.Value", n + 1), value));
    }
    pairs
}
