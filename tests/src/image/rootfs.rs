//! The files of an image, as a layer that has the same bytes whenever and wherever it is made from the same files.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tar::{Builder, EntryType, Header};

/// The files of an image by their path, sorted.
#[derive(Clone, Debug, Default)]
pub struct Rootfs {
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug)]
enum Entry {
    Folder { mode: u32 },
    File { mode: u32, contents: Vec<u8> },
}

impl Rootfs {
    /// Adds a folder.
    pub fn add_folder(&mut self, path: &str, mode: u32) {
        self.add_parents(path);
        self.entries.insert(path.to_owned(), Entry::Folder { mode });
    }

    /// Adds a file with the contents of another, following links.
    pub fn add_file(&mut self, path: &str, from: &Path, mode: u32) -> Result<()> {
        let contents = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.add_contents(path, contents, mode);
        Ok(())
    }

    /// Adds a file.
    pub fn add_contents(&mut self, path: &str, contents: Vec<u8>, mode: u32) {
        self.add_parents(path);
        self.entries.insert(path.to_owned(), Entry::File { mode, contents });
    }

    /// Adds a program with the shared libraries that it needs, and their loader, at the places where it looks for them.
    pub fn add_program(&mut self, path: &str, from: &Path) -> Result<()> {
        self.add_file(path, from, 0o755)?;
        for library in libraries(from)? {
            self.add_file(&library.display().to_string(), &library, 0o755)?;
        }
        Ok(())
    }

    /// Adds `/etc/passwd` and `/etc/group` with root and these users.
    pub fn add_users(&mut self, users: &[(&str, u32)]) {
        let mut passwd = "root:x:0:0:root:/:/sbin/nologin\n".to_owned();
        let mut group = "root:x:0:\n".to_owned();
        for (name, id) in users {
            let _ = writeln!(passwd, "{name}:x:{id}:{id}:{name}:/:/sbin/nologin");
            let _ = writeln!(group, "{name}:x:{id}:");
        }
        self.add_contents("/etc/passwd", passwd.into_bytes(), 0o644);
        self.add_contents("/etc/group", group.into_bytes(), 0o644);
    }

    /// The layer: an uncompressed tar archive.
    pub fn into_layer(self) -> Result<Vec<u8>> {
        let mut builder = Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            let relative = path.trim_start_matches('/');
            match entry {
                Entry::Folder { mode } => {
                    append(&mut builder, &format!("{relative}/"), EntryType::Directory, *mode, &[])?;
                }
                Entry::File { mode, contents } => append(&mut builder, relative, EntryType::Regular, *mode, contents)?,
            }
        }
        Ok(builder.into_inner()?)
    }

    /// Writes the files below a folder.
    pub fn write(&self, folder: &Path) -> Result<()> {
        for (path, entry) in &self.entries {
            let place = folder.join(path.trim_start_matches('/'));
            let mode = match entry {
                Entry::Folder { mode } => {
                    fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;
                    *mode
                }
                Entry::File { mode, contents } => {
                    fs::write(&place, contents).with_context(|| format!("cannot write {}", place.display()))?;
                    *mode
                }
            };
            fs::set_permissions(&place, fs::Permissions::from_mode(mode))?;
        }
        Ok(())
    }

    fn add_parents(&mut self, path: &str) {
        let ancestors = Path::new(path).ancestors().skip(1).filter(|folder| *folder != Path::new("/"));
        for folder in ancestors {
            self.entries.entry(folder.display().to_string()).or_insert(Entry::Folder { mode: 0o755 });
        }
    }
}

/// Everything that a reader could see is fixed: time, owner, order.
fn append(builder: &mut Builder<Vec<u8>>, path: &str, kind: EntryType, mode: u32, contents: &[u8]) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(contents.len() as u64);
    builder.append_data(&mut header, path, contents).with_context(|| format!("cannot archive {path}"))
}

fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("cannot run ldd")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if let Some(line) = text.lines().find(|line| line.contains("not found")) {
        bail!("{} needs a library that is not installed: {}", program.display(), line.trim());
    }
    Ok(parse_libraries(&text))
}

fn parse_libraries(text: &str) -> Vec<PathBuf> {
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    text.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_loader_are_read_from_what_ldd_says() {
        let text = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(parse_libraries(text), expected);
        assert!(parse_libraries("\tstatically linked\n").is_empty());
    }

    #[test]
    fn a_layer_has_the_same_bytes_whatever_the_order_and_the_time() {
        let folder = tempfile::tempdir().unwrap();
        let layer = |first: &str, second: &str| {
            let file = folder.path().join("file");
            fs::write(&file, "contents").unwrap();
            let mut rootfs = Rootfs::default();
            rootfs.add_file(first, &file, 0o755).unwrap();
            rootfs.add_file(second, &file, 0o755).unwrap();
            rootfs.into_layer().unwrap()
        };
        assert_eq!(layer("/usr/bin/a", "/usr/bin/b"), layer("/usr/bin/b", "/usr/bin/a"));
    }

    #[test]
    fn parents_come_before_their_children() {
        let mut rootfs = Rootfs::default();
        rootfs.add_contents("/usr/bin/a", Vec::new(), 0o755);
        let layer = rootfs.into_layer().unwrap();
        let mut archive = tar::Archive::new(layer.as_slice());
        let paths: Vec<String> =
            archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
        assert_eq!(paths, ["usr/", "usr/bin/", "usr/bin/a"]);
    }
}
