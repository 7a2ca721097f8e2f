//! A series of numbered files of bounded size and number. A file is never renamed by us, so that a program that ships lines
//! elsewhere keeps its place. Others may rename, remove or empty it (logrotate): lines go on under the name they had.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::AuditLimits;

const SUFFIX: &str = ".jsonl";

/// The series; lines go to its newest file.
pub struct Rotated {
    folder: PathBuf,
    stem: String,
    limits: AuditLimits,
    number: u64,
    file: File,
    bytes: u64,
}

impl Rotated {
    /// Goes on with the newest file there is; the folder is made if it is not there, for its owner alone.
    ///
    /// # Errors
    /// The folder or a file cannot be made or written.
    pub fn open(folder: &Path, name: &str, limits: AuditLimits) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let stem = format!("{name}-");
        let number = numbers(folder, &stem)?.last().copied().unwrap_or(1);
        let mut file = open(folder, &stem, number)?;
        let mut bytes = file.seek(SeekFrom::End(0))?;
        let mut last = [0_u8; 1];
        if bytes > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        if bytes > 0 && last != *b"\n" {
            // The end of a line was lost with the power.
            file.write_all(b"\n")?;
            bytes += 1;
        }
        let opened = Self { folder: folder.to_owned(), stem, limits, number, file, bytes };
        opened.remove_old()?;
        Ok(opened)
    }

    /// Adds whole lines, all of them or, after an error, none.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.follow()?;
        for part in self.parts(lines) {
            let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
            if self.bytes > 0 && self.bytes.saturating_add(length) > self.limits.file_bytes {
                self.next_file()?;
            }
            if let Err(error) = self.file.write_all(part) {
                // Half a line would spoil the next one.
                let _ = self.file.set_len(self.bytes);
                return Err(error);
            }
            self.bytes = self.bytes.saturating_add(length);
        }
        Ok(())
    }

    /// Makes everything last.
    pub(super) fn sync(&self) {
        if let Err(error) = self.file.sync_data() {
            tracing::warn!(%error, "audit lines may not outlive a loss of power");
        }
    }

    /// Lines in pieces that fit a file; a line that is larger than a file is one piece.
    fn parts<'l>(&self, lines: &'l [u8]) -> Vec<&'l [u8]> {
        let most = usize::try_from(self.limits.file_bytes).unwrap_or(usize::MAX);
        let mut room =
            usize::try_from(self.limits.file_bytes.saturating_sub(self.bytes)).unwrap_or(usize::MAX);
        let (mut parts, mut start, mut end) = (Vec::new(), 0, 0);
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            if end + line.len() - start > room && end > start {
                parts.extend(lines.get(start..end));
                start = end;
                room = most;
            }
            end += line.len();
        }
        parts.extend(lines.get(start..end).filter(|rest| !rest.is_empty()));
        parts
    }

    /// Opens the file anew if its name leads elsewhere now, and sees how long it is.
    fn follow(&mut self) -> io::Result<()> {
        let own = self.file.metadata()?;
        let same = fs::metadata(path(&self.folder, &self.stem, self.number))
            .is_ok_and(|named| (named.dev(), named.ino()) == (own.dev(), own.ino()));
        if same {
            // It may have been emptied.
            self.bytes = own.len();
        } else {
            self.sync();
            self.file = open(&self.folder, &self.stem, self.number)?;
            self.bytes = self.file.seek(SeekFrom::End(0))?;
        }
        Ok(())
    }

    fn next_file(&mut self) -> io::Result<()> {
        self.sync();
        self.file = open(&self.folder, &self.stem, self.number + 1)?;
        self.number += 1;
        self.bytes = self.file.seek(SeekFrom::End(0))?;
        self.remove_old()
    }

    fn remove_old(&self) -> io::Result<()> {
        let numbers = numbers(&self.folder, &self.stem)?;
        let surplus = numbers.len().saturating_sub(self.limits.files.max(1));
        for number in numbers.into_iter().take(surplus).filter(|number| *number != self.number) {
            fs::remove_file(path(&self.folder, &self.stem, number))?;
        }
        Ok(())
    }
}

fn path(folder: &Path, stem: &str, number: u64) -> PathBuf {
    folder.join(format!("{stem}{number:06}{SUFFIX}"))
}

fn open(folder: &Path, stem: &str, number: u64) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path(folder, stem, number))
}

/// The numbers of the files that are there, in order.
fn numbers(folder: &Path, stem: &str) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number: Option<u64> =
            name.to_str().and_then(|name| name.strip_prefix(stem)?.strip_suffix(SUFFIX)?.parse().ok());
        found.extend(number);
    }
    found.sort_unstable();
    Ok(found)
}
