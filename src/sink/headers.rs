//! Headers that a sink sends with each request: fixed ones, and ones whose value is read from a file that may change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::escape::Escaped;
use crate::file_timeout::within;

/// How old the value of a file may be. Orchestrators replace tokens minutes before they expire.
const MAX_AGE: Duration = Duration::from_secs(1);
/// Longest value in bytes.
const MAX_VALUE: usize = 16 << 10;

/// The headers of a sink. Values are marked sensitive, so that neither HTTP/2's compression table nor a log contains
/// them.
#[derive(Debug, Default)]
pub struct Headers {
    fixed: HeaderMap,
    files: Vec<FileHeader>,
}

#[derive(Debug)]
struct FileHeader {
    name: HeaderName,
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    value: HeaderValue,
    /// When the file is read again.
    due: Instant,
    failed: bool,
}

impl Headers {
    /// Adds a header with a fixed value.
    ///
    /// # Errors
    /// The value is not valid for a header.
    pub fn fixed(&mut self, name: HeaderName, value: &str) -> io::Result<()> {
        self.fixed.insert(name, header_value(value)?);
        Ok(())
    }

    /// Adds a header whose value is the content of a file without surrounding white space. The file is read now, and
    /// again when the value is older than a second.
    ///
    /// # Errors
    /// The file cannot be read, or its content is not valid for a header.
    pub fn file(&mut self, name: HeaderName, path: PathBuf) -> io::Result<()> {
        let value = read(&path)?;
        let state = Mutex::new(State { value, due: Instant::now() + MAX_AGE, failed: false });
        self.files.push(FileHeader { name, path, state });
        Ok(())
    }

    /// Adds the headers to those of a request. If a file can no longer be read, its last value is used.
    pub(super) async fn apply(&self, headers: &mut HeaderMap) {
        headers.extend(self.fixed.clone());
        for header in &self.files {
            headers.insert(header.name.clone(), header.value().await);
        }
    }

    /// Makes the next request read the files again, because the next hop refused their values.
    pub(super) fn expire(&self) {
        for header in &self.files {
            header.state().due = Instant::now();
        }
    }
}

impl FileHeader {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // The state cannot be half-changed, so a poisoned lock is valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn value(&self) -> HeaderValue {
        {
            let mut state = self.state();
            let now = Instant::now();
            if now < state.due {
                return state.value.clone();
            }
            // Other requests use the old value while this one reads.
            state.due = now + MAX_AGE;
        }
        let path = self.path.clone();
        let found = tokio::task::spawn_blocking(move || read(&path)).await.map_err(io::Error::other).flatten();
        let mut state = self.state();
        match found {
            Ok(value) => {
                state.value = value;
                state.failed = false;
            }
            Err(error) => {
                if !state.failed {
                    tracing::warn!(header = %self.name, error = %Escaped(&error), "cannot read the value of a header: the last one stays in use");
                }
                state.failed = true;
            }
        }
        state.value.clone()
    }
}

fn read(path: &Path) -> io::Result<HeaderValue> {
    let named = |cause: io::Error| io::Error::new(cause.kind(), format!("{}: {cause}", path.display()));
    let text = within(path, |path| std::fs::read_to_string(path)).map_err(named)?;
    header_value(text.trim()).map_err(named)
}

/// Parses a value and marks it as sensitive.
fn header_value(text: &str) -> io::Result<HeaderValue> {
    let bad = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
    if text.is_empty() || text.len() > MAX_VALUE {
        return Err(bad("a header value must have 1 to 16384 bytes"));
    }
    let mut value =
        HeaderValue::from_str(text).map_err(|_| bad("a header value must be one line of printable ASCII"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sent(headers: &Headers) -> HeaderMap {
        let mut map = HeaderMap::new();
        headers.apply(&mut map).await;
        map
    }

    /// A replaced token is sent within a second, at once after the next hop refused the old one, and a file that is
    /// missing or invalid leaves the last good value.
    #[tokio::test(start_paused = true)]
    async fn a_replaced_token_is_sent() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "one\n").unwrap();
        let mut headers = Headers::default();
        headers.file(HeaderName::from_static("authorization"), path.clone()).unwrap();
        assert_eq!(sent(&headers).await["authorization"], "one");
        std::fs::write(&path, "two\n").unwrap();
        assert_eq!(sent(&headers).await["authorization"], "one", "it is not a second old");
        tokio::time::advance(MAX_AGE).await;
        assert_eq!(sent(&headers).await["authorization"], "two");
        std::fs::write(&path, "three\n").unwrap();
        headers.expire();
        assert_eq!(sent(&headers).await["authorization"], "three");
        std::fs::write(&path, "two\nlines").unwrap();
        headers.expire();
        assert_eq!(sent(&headers).await["authorization"], "three");
        std::fs::remove_file(&path).unwrap();
        headers.expire();
        assert_eq!(sent(&headers).await["authorization"], "three");
    }

    #[test]
    fn values_are_not_shown() {
        let mut headers = Headers::default();
        headers.fixed(HeaderName::from_static("x-key"), "hush").unwrap();
        assert!(!format!("{headers:?}").contains("hush"));
        assert!(headers.fixed(HeaderName::from_static("x-key"), "a\nb").is_err());
        let missing = headers.file(HeaderName::from_static("x-key"), "/nonexistent/token".into()).unwrap_err();
        assert!(missing.to_string().starts_with("/nonexistent/token: "), "{missing}");
    }
}
