//! File system paths, compared as their system compares them.

use super::text;

/// The path, trimmed; case-folded when it has a drive letter or a backslash, as Windows ignores case, else as it is.
/// `None` when nothing is left.
pub fn canonical<'a>(value: &'a [u8], scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let path = text::canonical(value)?;
    Some(if is_windows(path) { text::fold(path, scratch) } else { path })
}

/// Joins a directory and a file name with the separator that the directory uses.
pub fn join(directory: &str, name: &str) -> String {
    let separator = if is_windows(directory.as_bytes()) && !directory.contains('/') { '\\' } else { '/' };
    match directory.ends_with(separator) {
        true => format!("{directory}{name}"),
        false => format!("{directory}{separator}{name}"),
    }
}

/// Whether a path ignores case: it has a drive letter or a backslash.
pub fn is_windows(path: &[u8]) -> bool {
    matches!(path, [letter, b':', ..] if letter.is_ascii_alphabetic()) || memchr::memchr(b'\\', path).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_windows_paths_ignore_case() {
        let mut scratch = Vec::new();
        assert_eq!(canonical(br" C:\Windows\A.EXE", &mut scratch), Some(&br"c:\windows\a.exe"[..]));
        assert_eq!(canonical(br"\\Server\Share", &mut scratch), Some(&br"\\server\share"[..]));
        assert_eq!(canonical(b"C:/Temp", &mut scratch), Some(&b"c:/temp"[..]));
        assert_eq!(canonical(b"/usr/bin/X", &mut scratch), Some(&b"/usr/bin/X"[..]));
        assert_eq!(canonical(b" ", &mut scratch), None);
    }

    #[test]
    fn joining_uses_the_separator_of_the_directory() {
        assert_eq!(join(r"C:\Windows", "a.exe"), r"C:\Windows\a.exe");
        assert_eq!(join(r"C:\", "a.exe"), r"C:\a.exe");
        assert_eq!(join("C:", "a.exe"), r"C:\a.exe");
        assert_eq!(join("C:/Temp", "a.exe"), "C:/Temp/a.exe");
        assert_eq!(join("/usr/bin/", "x"), "/usr/bin/x");
        assert_eq!(join("/usr/bin", "x"), "/usr/bin/x");
    }

    proptest! {
        /// A canonical path is its own canonical form, for any bytes.
        #[test]
        fn canonical_twice_is_canonical(value in proptest::collection::vec(any::<u8>(), 0..24), path in "[A-Z]:\\\\[A-Za-zÄß]{0,8}") {
            for value in [value.as_slice(), path.as_bytes()] {
                let (mut one, mut two) = (Vec::new(), Vec::new());
                if let Some(once) = canonical(value, &mut one) {
                    prop_assert_eq!(canonical(once, &mut two), Some(once));
                }
            }
        }
    }
}
