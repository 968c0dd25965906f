//! `export [FILE]`.

use super::config::Config;
use super::export_file::{self, objects_in_words};
use super::failure::Failure;
use super::new_file::NewFile;
use super::output::{self, Output, printable, say};
use super::place::{self, Place};
use super::session::Session;
use crate::store::transfer::export_to;
use clap::{Args, ValueHint};
use std::io::{BufReader, Seek as _};
use std::path::PathBuf;
use tempfile::NamedTempFile;

/// Write everything that is declared into a file, to be imported elsewhere
#[derive(Debug, Args)]
#[command(after_help = "\
Apps, cron jobs, device groups, users, user groups and what lets devices in, as they are at one
moment: a JSON object a line, each with its uid. Hashes and the values of variables are in it, so
only you can read the file. Nothing is changed, in the original's database as well. Import it with
`nebula ctl import`; docs/migration.md tells the way from the original.")]
pub(super) struct Export {
    /// Where to write it [default: stdout]
    #[arg(value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// Replace the file when it is there
    #[arg(long)]
    force: bool,
    /// End with success although some objects cannot be read and are left out
    #[arg(long)]
    skip_unreadable: bool,
    #[command(flatten)]
    place: Place,
}

impl Export {
    pub(super) async fn run(self, config: Config) -> Result<(), Failure> {
        // Dropped, the temporary file is removed. Listened for first, so that no moment is left in
        // which the signal would end the process at once.
        tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
            done = self.write(config) => done,
        }
    }

    async fn write(self, config: Config) -> Result<(), Failure> {
        let to = match &self.file {
            Some(file) if file.as_os_str() != "-" => Some(NewFile::new(file, self.force)?),
            _ => None,
        };
        let written = to.as_ref().map_or_else(scratch, NewFile::begin)?;
        let cannot_write = |error| match &to {
            Some(to) => to.cannot_write(error),
            None => Failure::new("cannot write a temporary file").because(error),
        };
        let handle = written.reopen().map_err(cannot_write)?;
        let mut handle = tokio::fs::File::from_std(handle);
        if let Some(opened) = self.place.open(true).await? {
            let exported = export_to(&*opened.store, &opened.name, &mut handle).await;
            exported.map_err(|error| place::failed(&opened.name, error))?;
        } else {
            let session = Session::new(config, Output::default())?;
            let exported = session.client().export(&mut handle).await;
            exported.map_err(|error| session.explain(&error))?;
        }
        handle.sync_all().await.map_err(cannot_write)?;
        // Read as an import will: what a manager sent may have been cut off on the way.
        let lines = BufReader::new(written.reopen().map_err(cannot_write)?);
        let frame = export_file::read(lines, "what was sent", drop)?;
        for unreadable in &frame.unreadable {
            say(&printable(&format!("left out: {unreadable}")));
        }
        let objects = objects_in_words(usize::try_from(frame.end.objects).unwrap_or(usize::MAX));
        match to {
            Some(to) => {
                to.keep(written)?;
                say(&format!("{objects} written to {}", to.display()));
            }
            None => print(written)?,
        }
        match frame.unreadable.len() {
            0 => Ok(()),
            _ if self.skip_unreadable => Ok(()),
            count => {
                let what = format!("{} could not be read, and left out", objects_in_words(count));
                Err(Failure::new(what).hint(
                    "mend or delete what is named above, or take the export with --skip-unreadable",
                ))
            }
        }
    }
}

/// What is meant for stdout waits here until it is whole.
fn scratch() -> Result<NamedTempFile, Failure> {
    let begun = tempfile::Builder::new().prefix(".nebula-").tempfile();
    begun.map_err(|error| {
        let folder = std::env::temp_dir();
        Failure::new(format!("cannot make a temporary file in `{}`", folder.display()))
            .because(error)
            .hint("name the file to write, or another folder in TMPDIR")
    })
}

fn print(mut written: NamedTempFile) -> Result<(), Failure> {
    let cannot_read = |error| Failure::new("cannot read a temporary file").because(error);
    written.rewind().map_err(cannot_read)?;
    output::copy(&mut written)
}
