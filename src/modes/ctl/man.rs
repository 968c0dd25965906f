//! `man DIR`.

use super::failure::Failure;
use clap::Args;
use clap_mangen::Man as Page;
use std::path::{Path, PathBuf};

/// Write the manual pages into a folder: nebula.1, and one for each command
#[derive(Debug, Args)]
#[command(after_help = "\
The folder is made if it is not there, and pages that are there are replaced.

Examples:
  for this user:  nebula ctl man ~/.local/share/man/man1
  for everybody:  nebula ctl man /usr/local/share/man/man1
  then:           man nebula-ctl-apps-create")]
pub(super) struct Man {
    /// The folder
    #[arg(value_hint = clap::ValueHint::DirPath)]
    dir: PathBuf,
}

impl Man {
    pub(super) fn run(self, mut root: clap::Command) -> Result<(), Failure> {
        // Tells each command its whole name, and the options that all have.
        root.build();
        std::fs::create_dir_all(&self.dir).and_then(|()| write(&root, "nebula", &self.dir)).map_err(
            |error| {
                let dir = self.dir.display();
                Failure::new(format!("cannot write manual pages to `{dir}`")).because(error)
            },
        )
    }
}

/// The page of a command, and those of the commands below it.
fn write(command: &clap::Command, name: &str, dir: &Path) -> std::io::Result<()> {
    // Made in memory, so that a full disk is an error of this program and not of the generator.
    let mut text = Vec::new();
    Page::new(command.clone().name(name.to_owned()).display_name(name)).render(&mut text)?;
    std::fs::write(dir.join(format!("{name}.1")), text)?;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        write(below, &format!("{name}-{}", below.get_name()), dir)?;
    }
    Ok(())
}
