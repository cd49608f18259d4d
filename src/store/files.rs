//! Reading the files of the store, which others may have written.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Reads a complete file of at most this length.
pub(super) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut content)?;
    if content.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {most} bytes")));
    }
    Ok(content)
}
