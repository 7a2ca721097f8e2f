//! The change log's row: the changes of one revision as bytes, and how much of the log is kept.

use crate::{Bounds, Change, Revision};

/// What the log holds at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Changes in it.
    pub(crate) changes: u64,
    /// Bytes of keys and values in it.
    pub(crate) bytes: u64,
    /// The newest revision that is no longer in it; a watch must start at or after it.
    pub(crate) compacted: Revision,
}

impl Extent {
    pub(crate) fn grow(&mut self, changes: &[Change]) {
        self.changes = self.changes.saturating_add(changes.len() as u64);
        self.bytes = self.bytes.saturating_add(size(changes));
    }

    pub(crate) fn shrink(&mut self, revision: Revision, changes: &[Change]) {
        self.changes = self.changes.saturating_sub(changes.len() as u64);
        self.bytes = self.bytes.saturating_sub(size(changes));
        self.compacted = revision;
    }

    pub(crate) fn exceeds(&self, bounds: &Bounds) -> bool {
        self.changes > bounds.log_changes || self.bytes > bounds.log_bytes
    }
}

fn size(changes: &[Change]) -> u64 {
    changes.iter().map(|change| change.bytes() as u64).sum()
}

const DELETED: u8 = 0;
const WRITTEN: u8 = 1;

/// `(tag, key length, key, [value length, value])*`, lengths as 32-bit little-endian.
pub(crate) fn encode(changes: &[Change]) -> Vec<u8> {
    let mut row = Vec::new();
    for change in changes {
        row.push(if change.value.is_some() { WRITTEN } else { DELETED });
        field(&mut row, change.key.as_bytes());
        if let Some(value) = &change.value {
            field(&mut row, value);
        }
    }
    row
}

fn field(row: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("keys and values are bounded far below 4 GiB");
    row.extend_from_slice(&length.to_le_bytes());
    row.extend_from_slice(bytes);
}

/// `None` when the row is not one of ours.
pub(crate) fn decode(revision: Revision, mut row: &[u8]) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    while let Some((tag, rest)) = row.split_first() {
        row = rest;
        let key = std::str::from_utf8(take(&mut row)?).ok()?.to_owned();
        let value = match *tag {
            WRITTEN => Some(take(&mut row)?.to_vec()),
            DELETED => None,
            _ => return None,
        };
        changes.push(Change { revision, key, value });
    }
    Some(changes)
}

fn take<'r>(row: &mut &'r [u8]) -> Option<&'r [u8]> {
    let (length, rest) = row.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (field, rest) = rest.split_at_checked(length)?;
    *row = rest;
    Some(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reads_back_and_a_cut_one_does_not() {
        let changes = vec![
            Change { revision: 7, key: "/a".into(), value: Some(vec![1, 2, 3]) },
            Change { revision: 7, key: "/b".into(), value: None },
            Change { revision: 7, key: "/c".into(), value: Some(vec![]) },
        ];
        let row = encode(&changes);
        assert_eq!(decode(7, &row), Some(changes));
        let whole: Vec<usize> = (0..row.len()).filter(|&end| decode(7, &row[..end]).is_some()).collect();
        assert_eq!(whole, vec![0, 1 + 4 + 2 + 4 + 3, 1 + 4 + 2 + 4 + 3 + 1 + 4 + 2]);
        assert_eq!(decode(7, &[9, 0, 0, 0, 0]), None);
    }
}
