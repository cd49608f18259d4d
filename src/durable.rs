//! Files that are written as a whole: under a temporary name first, then renamed, so that a reader finds the old content
//! or the new one, and a killed process leaves no partial file. What must survive a crash of the machine is synced before
//! it is renamed, and its directory afterwards.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

/// The prefix of temporary names. Readers of a directory ignore such files.
pub const TEMPORARY: &str = ".tmp-";

/// Whether a file must survive a crash of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The file and its name are synced to the disk.
    Synced,
    /// The content can be created again, so it is not synced.
    Unsynced,
}

/// Replaces a file, or creates it with mode 0600.
///
/// # Errors
/// The disk failed; the old content remains, unless only the last sync failed.
pub fn replace(path: &Path, content: &[u8], durability: Durability) -> io::Result<()> {
    replace_with(path, durability, None, &mut |file| file.write_all(content)).map(drop)
}

/// Replaces a file with what `write` writes, and returns the new file. Without `permissions` it has mode 0600.
///
/// # Errors
/// `write` or the disk failed; the old content remains, unless only the last sync failed.
pub fn replace_with(
    path: &Path,
    durability: Durability,
    permissions: Option<Permissions>,
    write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
) -> io::Result<File> {
    let directory = directory_of(path);
    let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(directory)?;
    if let Some(permissions) = permissions {
        file.as_file().set_permissions(permissions)?;
    }
    write(&mut file)?;
    if durability == Durability::Synced {
        file.as_file().sync_all()?;
    }
    let file = file.persist(path).map_err(|error| error.error)?;
    if durability == Durability::Synced {
        sync_directory(directory)?;
    }
    Ok(file)
}

/// Writes a complete file with mode 0600 that [`commit`] renames later, so that a full disk is detected now. `path` is
/// its temporary name.
///
/// # Errors
/// The disk failed.
pub fn stage(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = private().create(true).truncate(true).write(true).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Renames a staged file to its final name.
///
/// # Errors
/// The disk failed; what had the final name remains, unless only the last sync failed.
pub fn commit(staged: &Path, path: &Path) -> io::Result<()> {
    fs::rename(staged, path)?;
    sync_directory(directory_of(path))
}

/// Syncs a file that was written in pieces, and renames it to its final name.
///
/// # Errors
/// The disk failed.
pub fn commit_file(file: &File, staged: &Path, path: &Path) -> io::Result<()> {
    file.sync_all()?;
    commit(staged, path)
}

/// Creates a file that does not exist yet, with this mode.
///
/// # Errors
/// The file exists, or the disk failed.
pub fn create_new(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.sync_all()?;
    sync_directory(directory_of(path))
}

/// Removes a file durably.
///
/// # Errors
/// The file does not exist, or the disk failed.
pub fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    sync_directory(directory_of(path))
}

/// Makes the names in a directory durable.
///
/// # Errors
/// The disk failed.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Creates a directory and its missing parents, accessible only to this process's user.
///
/// # Errors
/// The directory cannot be created.
pub fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Returns options to create a file with mode 0600, for files that are written in place.
pub fn private() -> OpenOptions {
    let mut options = File::options();
    options.mode(0o600);
    options
}

/// Returns the directory of a file. A bare name is in the current one.
pub fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    /// Scenario: a file is replaced, and then the disk is full in the middle of the next content. Guarantee: the old
    /// content remains complete, and no temporary file is left.
    #[test]
    fn a_failed_replacement_leaves_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        for durability in [Durability::Synced, Durability::Unsynced] {
            replace(&path, b"old", durability).unwrap();
            let failed = replace_with(&path, durability, None, &mut |file| {
                file.write_all(b"half of the n")?;
                Err(io::ErrorKind::StorageFull.into())
            });
            assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
            assert_eq!(
                (fs::read(&path).unwrap(), names(directory.path())),
                (b"old".to_vec(), vec!["a.json".to_owned()])
            );
            assert_eq!(mode(&path), 0o600);
        }
        let wide = Permissions::from_mode(0o640);
        replace_with(&path, Durability::Synced, Some(wide), &mut |file| file.write_all(b"new")).unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"new".to_vec(), 0o640));
    }

    /// Guarantee: a staged file changes nothing until it is committed, and staging replaces what a killed process staged.
    #[test]
    fn a_staged_file_is_not_visible_before_it_is_committed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, next) = (directory.path().join("a.json"), directory.path().join("a.json.next"));
        replace(&path, b"old", Durability::Synced).unwrap();
        stage(&next, b"a longer content of a killed process").unwrap();
        stage(&next, b"new").unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&next)), (b"old".to_vec(), 0o600));
        commit(&next, &path).unwrap();
        assert_eq!((fs::read(&path).unwrap(), names(directory.path())), (b"new".to_vec(), vec!["a.json".to_owned()]));
        let part = directory.path().join("b.part");
        commit_file(&File::create(&part).unwrap(), &part, &directory.path().join("b")).unwrap();
        remove(&directory.path().join("b")).unwrap();
        assert_eq!(names(directory.path()), ["a.json"]);
    }

    #[test]
    fn a_new_file_never_overwrites_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        create_new(&path, 0o644, b"first").unwrap();
        assert_eq!(create_new(&path, 0o600, b"second").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
    }
}
