//! Reading and hashing the files of the cache.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::CacheError;
use crate::intel::manifest::{Digest, Hasher};

/// The size of the read buffer.
const BUFFER: usize = 1 << 20;

/// Reads a complete file of at most this length. `None` if it does not exist.
pub(super) fn read(path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(io::Error::other(format!("it is longer than {max} bytes")));
    }
    Ok(Some(bytes))
}

pub(super) fn digest(path: &Path) -> Result<Digest, CacheError> {
    let failed = |cause| CacheError::io(path, "read", cause);
    let mut hasher = Hasher::default();
    feed(&mut File::open(path).map_err(failed)?, &mut hasher).map_err(failed)?;
    Ok(hasher.finish())
}

/// Hashes the rest of a file, and returns its length.
pub(super) fn feed(file: &mut File, hasher: &mut Hasher) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER];
    let mut sum = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(sum),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                sum += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
