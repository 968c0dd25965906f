//! What configuration is made from, as arguments: nothing here is read behind a caller's back.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Where the file is looked for without `--config`: the first that is there.
pub const FILES: [&str; 2] = ["./nebula.toml", "/etc/nebula/nebula.toml"];

/// The longest file that is read. A thousand times what a full `nebula.toml` needs, and little
/// enough that a path to `/dev/zero` by mistake ends in a message and not in memory.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// The flags that were given, by name without the dashes in front (`cache-time`).
pub type Flags = BTreeMap<String, String>;

/// The environment.
pub type Environment = BTreeMap<String, String>;

/// All that configuration is made from, besides the defaults.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// The flags that were given.
    pub flags: &'a Flags,
    /// The environment.
    pub environment: &'a Environment,
    /// The file named by `--config`, which must then be there.
    pub config: Option<&'a Path>,
    /// Where to look for the file otherwise; [`FILES`] outside of tests.
    pub files: &'a [PathBuf],
    /// Reads a file, the configuration or a secret's; [`read_file`] outside of tests.
    pub read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
}

/// Makes an [`Environment`] of the process's variables. What is not UTF-8 is kept with a
/// replacement character, which the check of a value refuses: left out, it would be taken for
/// unset, and a default would take its place silently.
pub fn environment(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Environment {
    variables
        .into_iter()
        .map(|(name, value)| {
            let name = name.to_string_lossy().into_owned();
            (name, value.to_string_lossy().into_owned())
        })
        .collect()
}

/// Reads a file from the disk, [`MAX_FILE_BYTES`] at most. Pipes work, for shells that hand
/// secrets over as `<(command)`.
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let why = format!("longer than {MAX_FILE_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}
