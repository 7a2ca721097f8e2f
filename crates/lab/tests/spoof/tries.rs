//! What is tried: attempts, which have a name, and twins, which have none. Each is known by its mark.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

/// Who sends a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    /// The client, into its tunnel.
    Client,
    /// A host of the network that the client may reach.
    Target,
    /// A host outside that has the server as its router.
    Stranger,
}

/// Packets in the order in which they are sent.
pub(crate) struct Tries {
    /// Marks count from here on: packets of different directions are told apart.
    first: u32,
    names: Vec<Option<String>>,
    packets: Vec<(By, Vec<u8>)>,
}

impl Tries {
    pub(crate) fn from(first: u32) -> Self {
        Self { first, names: Vec::new(), packets: Vec::new() }
    }

    fn add(&mut self, name: Option<String>, by: By, make: impl FnOnce(u32) -> Vec<Vec<u8>>) -> u32 {
        let number = self.first + u32::try_from(self.names.len()).unwrap_or_default();
        self.names.push(name);
        self.packets.extend(make(number).into_iter().map(|packet| (by, packet)));
        number
    }

    /// What nobody may hear, in one packet or in pieces.
    pub(crate) fn attempt(&mut self, name: String, by: By, make: impl FnOnce(u32) -> Vec<Vec<u8>>) {
        self.add(Some(name), by, make);
    }

    /// What must be heard.
    pub(crate) fn twin(&mut self, by: By, make: impl FnOnce(u32) -> Vec<Vec<u8>>) -> u32 {
        self.add(None, by, make)
    }

    /// What has not been sent.
    pub(crate) fn take(&mut self) -> Vec<(By, Vec<u8>)> {
        std::mem::take(&mut self.packets)
    }

    /// That every twin was heard, and no attempt; how many attempts.
    pub(crate) fn check(&self, heard: &BTreeSet<u32>) -> Result<usize> {
        let all = || (self.first..).zip(&self.names);
        let passed: Vec<_> = all()
            .filter(|(number, _)| heard.contains(number))
            .filter_map(|(_, name)| name.as_ref())
            .collect();
        ensure!(passed.is_empty(), "passed: {passed:#?}");
        // The attempt before a twin says which it is.
        let mut before = None;
        let mut lost = Vec::new();
        for (number, name) in all() {
            if name.is_none() && !heard.contains(&number) {
                lost.push(before);
            }
            before = name.as_ref().or(before);
        }
        ensure!(lost.is_empty(), "twins that did not pass, of: {lost:#?}");
        Ok(self.names.iter().flatten().count())
    }
}
