//! Which store is meant: the manager's, or a database without a manager in between.

use super::failure::Failure;
use crate::config::Secret;
use crate::store::{DATABASE_FILE, MongoSettings, MongoStore, SqliteStore, Store};
use clap::{Args, ValueHint};
use std::path::PathBuf;
use std::sync::Arc;

/// One after the other is asked, and one at a time.
const CONNECTIONS: u32 = 2;

/// Where to, or where from, when it is not the manager at --url.
#[derive(Debug, Args)]
#[command(next_help_heading = "A database instead of the manager")]
pub(super) struct Place {
    #[arg(long, value_name = "URL", value_parser = secret)]
    #[arg(
        help = "A MongoDB server, the original's as well; the URL is for all of this machine to see"
    )]
    mongo_url: Option<Secret<String>>,
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(conflicts_with = "mongo_url", help = "A file that holds the URL")]
    mongo_url_file: Option<PathBuf>,
    #[arg(long, value_name = "NAME", default_value = "nebula")]
    #[arg(help = "The database on that server")]
    schema_name: String,
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    #[arg(conflicts_with_all = ["mongo_url", "mongo_url_file"])]
    #[arg(help = "The data folder of an embedded store, on which no manager runs")]
    data_dir: Option<PathBuf>,
}

#[expect(clippy::unnecessary_wraps, reason = "the form of clap's value parsers")]
fn secret(text: &str) -> Result<Secret<String>, std::convert::Infallible> {
    Ok(Secret::new(text.to_owned()))
}

/// A store, and what it is called.
pub(super) struct Opened {
    pub(super) store: Arc<dyn Store>,
    pub(super) name: String,
}

impl Place {
    /// The store that is meant; none when it is the manager's. `is_source` refuses a folder without
    /// a store, which would become one.
    pub(super) async fn open(&self, is_source: bool) -> Result<Option<Opened>, Failure> {
        if let Some(folder) = &self.data_dir {
            let name = format!("the embedded store in {}", folder.display());
            if is_source && !folder.join(DATABASE_FILE).is_file() {
                let what = format!("there is no store in `{}`", folder.display());
                return Err(Failure::new(what).hint(format!("it would be {DATABASE_FILE} there")));
            }
            let store = SqliteStore::open(folder).await.map_err(|error| {
                Failure::new(format!("cannot open {name}"))
                    .because(error)
                    .hint("where a manager runs, ask the manager: give --url instead of --data-dir")
            })?;
            return Ok(Some(Opened { store: Arc::new(store), name }));
        }
        let Some(url) = self.url()? else { return Ok(None) };
        let name = format!("the MongoDB database `{}`", self.schema_name);
        let database = self.schema_name.clone();
        let settings = MongoSettings { url, database, max_pool_size: CONNECTIONS };
        Ok(Some(Opened { store: Arc::new(MongoStore::new(settings)), name }))
    }

    fn url(&self) -> Result<Option<Secret<String>>, Failure> {
        let Some(file) = &self.mongo_url_file else { return Ok(self.mongo_url.clone()) };
        let text = std::fs::read_to_string(file).map_err(|error| {
            Failure::usage(format!("cannot read `{}`", file.display())).because(error)
        })?;
        Ok(Some(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned())))
    }
}

/// A store that could not.
pub(super) fn failed(name: &str, error: crate::store::StoreError) -> Failure {
    Failure::new(format!("{name} failed")).because(error)
}
