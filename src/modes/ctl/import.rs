//! `import FILE`.

use super::config::Config;
use super::export_file::{self, Frame, objects_in_words};
use super::failure::Failure;
use super::output::{Output, plain_value, printable, say, table};
use super::place::{self, Opened, Place};
use super::session::Session;
use crate::client::{Noun, Object as Body, Reply};
use crate::model::{Author, Revision};
use crate::store::transfer::{Existing, Import as Batch, MAX_BATCH, Outcome, called, wire};
use crate::store::{Kind, Object};
use clap::{Args, ValueHint};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

/// A batch has this much JSON at most, or a single object: one is written within seconds, and is
/// below the limit of a request.
const MAX_BATCH_BYTES: usize = 1 << 20;
/// Refused objects and missing members that are named.
const MAX_NAMED: usize = 20;

/// Take over everything from a file that `nebula ctl export` wrote
#[derive(Debug, Args)]
#[command(after_help = "\
The whole file is checked before anything is written. uids and ids are kept, so no container on a
device is replaced; revisions become higher than all in the file, so a device that comes over sees
the new manager's answer as the newer one. What is there already and equal counts as done: an import
that was interrupted is repeated. What is there and differs is refused, with the list of it, unless
--replace or --skip-existing says what to do.")]
pub(super) struct Import {
    /// The file, or `-` for stdin
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Replace objects that are there and differ
    #[arg(long, conflicts_with = "skip_existing")]
    replace: bool,
    /// Keep objects that are there and differ
    #[arg(long)]
    skip_existing: bool,
    #[command(flatten)]
    place: Place,
}

/// Where everything goes.
enum Target {
    Manager(Box<Session>),
    Store(Opened),
}

/// An object's way: what became of it, in a word, and why when it was refused.
struct Told {
    outcome: String,
    reason: Option<String>,
}

/// How many of each kind went which way.
type Counts = BTreeMap<Kind, BTreeMap<String, u64>>;

impl Import {
    pub(super) async fn run(self, config: Config) -> Result<(), Failure> {
        let output = Output::new(config.format);
        let mut objects = Vec::new();
        let frame = self.read(&mut objects)?;
        // What is listed before what lists it, whatever a person did to the file: devices must not
        // be told of a group without its apps.
        objects.sort_by_key(Object::kind);
        let target = match self.place.open(false).await? {
            Some(opened) => Target::Store(opened),
            None => Target::Manager(Box::new(Session::new(config, Output::default())?)),
        };
        warn(&frame, &objects, &target).await?;
        let above = objects.iter().filter_map(|object| object.identity().revision);
        let above = above.fold(frame.end.revision, Revision::max);
        let batches = batches(objects)?;
        let (counts, refused) = self.pass(&target, &batches, above, true).await?;
        if !refused.is_empty() {
            return Err(refusal(&refused));
        }
        if self.dry_run {
            return finish(&output, true, &counts);
        }
        let (counts, refused) = self.pass(&target, &batches, above, false).await?;
        if !refused.is_empty() {
            return Err(refusal(&refused));
        }
        finish(&output, false, &counts)
    }

    fn read(&self, objects: &mut Vec<Object>) -> Result<Frame, Failure> {
        let each = |object| objects.push(object);
        if self.file.as_os_str() == "-" {
            return export_file::read(std::io::stdin().lock(), "stdin", each);
        }
        let name = format!("`{}`", self.file.display());
        let file = File::open(&self.file);
        let file =
            file.map_err(|error| Failure::new(format!("cannot read {name}")).because(error))?;
        export_file::read(BufReader::new(file), &name, each)
    }

    fn existing(&self) -> Existing {
        match (self.replace, self.skip_existing) {
            (true, _) => Existing::Replace,
            (_, true) => Existing::Skip,
            _ => Existing::Refuse,
        }
    }

    /// Sends all batches.
    async fn pass(
        &self,
        target: &Target,
        batches: &[Vec<Object>],
        above: Revision,
        is_dry_run: bool,
    ) -> Result<(Counts, Vec<String>), Failure> {
        let (mut counts, mut refused) = (Counts::new(), Vec::new());
        for objects in batches {
            let batch =
                Batch { objects: objects.clone(), existing: self.existing(), above, is_dry_run };
            for (object, told) in objects.iter().zip(target.import(batch).await?) {
                if let Some(reason) = told.reason {
                    refused.push(format!("{}: {reason}", called(object.kind(), object.name())));
                }
                let of_kind = counts.entry(object.kind()).or_default();
                *of_kind.entry(told.outcome).or_default() += 1;
            }
        }
        Ok((counts, refused))
    }
}

impl Target {
    async fn import(&self, batch: Batch) -> Result<Vec<Told>, Failure> {
        match self {
            Self::Store(Opened { store, name }) => {
                // As the manager writes those that are no stored users.
                let author = Author::new("local:ctl", "import");
                let imported = store.import(batch, &author).await.map_err(|error| {
                    place::failed(name, error).hint("repeat the import: what is done stays done")
                })?;
                let told = |outcome: Outcome| Told {
                    outcome: outcome.as_str().to_owned(),
                    reason: match &outcome {
                        Outcome::Refused(reason) => Some(reason.to_string()),
                        _ => None,
                    },
                };
                Ok(imported.outcomes.into_iter().map(told).collect())
            }
            Self::Manager(session) => {
                let reply = session.client().import(&body(&batch)?).await;
                let reply = reply.map_err(|error| session.explain(&error))?;
                let told = reply.content.get("objects").and_then(Value::as_array);
                let told = told.filter(|told| told.len() == batch.objects.len());
                let told =
                    told.ok_or_else(|| Failure::new("the answer is not that of an import"))?;
                let text = |value: &Value, key| value.get(key).map(plain_value);
                Ok(told
                    .iter()
                    .map(|one| Told {
                        outcome: text(one, "outcome").unwrap_or_default(),
                        reason: text(one, "reason").map(|reason| printable(&reason)),
                    })
                    .collect())
            }
        }
    }

    async fn names(&self, kind: Kind) -> Result<Vec<String>, Failure> {
        match self {
            Self::Store(Opened { store, name }) => {
                store.names(kind).await.map_err(|error| place::failed(name, error))
            }
            Self::Manager(session) => {
                // What has no list of its own is listed by nobody either.
                let Some(noun) = noun(kind) else { return Ok(Vec::new()) };
                let listed = session.client().list(noun).await;
                Ok(listed.map_err(|error| session.explain(&error))?.content)
            }
        }
    }
}

const fn noun(kind: Kind) -> Option<Noun> {
    match kind {
        Kind::App => Some(Noun::App),
        Kind::CronJob => Some(Noun::CronJob),
        Kind::DeviceGroup => Some(Noun::DeviceGroup),
        Kind::User => Some(Noun::User),
        Kind::UserGroup => Some(Noun::UserGroup),
        Kind::DeviceCredential | Kind::Enrollment => None,
    }
}

/// The request of a batch.
fn body(batch: &Batch) -> Result<Body, Failure> {
    let objects = batch.objects.iter().map(wire).collect::<Result<Vec<Value>, _>>();
    let objects = objects.map_err(|error| Failure::new("cannot write a request").because(error))?;
    let existing = match batch.existing {
        Existing::Refuse => "refuse",
        Existing::Replace => "replace",
        Existing::Skip => "skip",
    };
    Ok(Map::from_iter([
        ("objects".to_owned(), objects.into()),
        ("existing".to_owned(), existing.into()),
        ("above".to_owned(), batch.above.0.into()),
        ("dry_run".to_owned(), batch.is_dry_run.into()),
    ]))
}

fn batches(objects: Vec<Object>) -> Result<Vec<Vec<Object>>, Failure> {
    let mut batches: Vec<Vec<Object>> = Vec::new();
    let mut bytes = 0;
    for object in objects {
        let length = wire(&object).map(|wire| wire.to_string().len());
        bytes += length.map_err(|error| Failure::new("cannot write a request").because(error))?;
        match batches.last_mut() {
            Some(batch) if batch.len() < MAX_BATCH && bytes <= MAX_BATCH_BYTES => {
                batch.push(object);
            }
            _ => {
                bytes = wire(&object).map_or(0, |wire| wire.to_string().len());
                batches.push(vec![object]);
            }
        }
    }
    Ok(batches)
}

/// Tells what is missing: from the file, and of what groups list.
async fn warn(frame: &Frame, objects: &[Object], target: &Target) -> Result<(), Failure> {
    let header = &frame.header;
    let whence = format!("from {}, {}, Nebula {}", header.source, header.created, header.version);
    say(&printable(&whence));
    for unreadable in &frame.unreadable {
        say(&printable(&format!("warning: not in the file: {unreadable}")));
    }
    let mut there: HashSet<(Kind, String)> = HashSet::new();
    there.extend(objects.iter().map(|object| (object.kind(), object.name().to_owned())));
    let lists = |kind| objects.iter().any(|o| o.members().iter().any(|(of, _)| *of == kind));
    for kind in [Kind::App, Kind::CronJob, Kind::User] {
        if lists(kind) {
            there.extend(target.names(kind).await?.into_iter().map(|name| (kind, name)));
        }
    }
    let mut missing = Vec::new();
    for object in objects {
        for (kind, name) in object.members() {
            if !there.contains(&(kind, name.clone())) {
                let group = called(object.kind(), object.name());
                missing.push(format!("{group} lists {}, which is not there", called(kind, name)));
            }
        }
    }
    for line in missing.iter().take(MAX_NAMED) {
        say(&format!("warning: {line}"));
    }
    if missing.len() > MAX_NAMED {
        say(&format!("warning: and {} more", missing.len() - MAX_NAMED));
    }
    Ok(())
}

fn refusal(refused: &[String]) -> Failure {
    for line in refused.iter().take(MAX_NAMED) {
        say(&format!("refused: {line}"));
    }
    let more = refused.len().saturating_sub(MAX_NAMED);
    if more > 0 {
        say(&format!("refused: and {more} more"));
    }
    Failure::new(format!("{} cannot be imported", objects_in_words(refused.len())))
        .hint("replace what is there and differs with --replace, or keep it with --skip-existing")
}

fn finish(output: &Output, is_dry_run: bool, counts: &Counts) -> Result<(), Failure> {
    const WAYS: [&str; 4] = ["added", "equal", "replaced", "skipped"];
    let count = |kind, way: &str| counts.get(&kind).and_then(|ways| ways.get(way)).copied();
    let ways = |kind| WAYS.map(|way| (way.to_owned(), json!(count(kind, way).unwrap_or(0))));
    let kinds = Kind::EXPORTED
        .map(|kind| (kind.as_str().to_owned(), Value::from(Map::from_iter(ways(kind)))));
    let told = json!({ "dry_run": is_dry_run, "objects": Map::from_iter(kinds) });
    let reply = Reply { bytes: told.to_string().into_bytes(), content: () };
    output.reply(&reply, |()| {
        let row = |kind: Kind| {
            let ways = WAYS.map(|way| count(kind, way).unwrap_or(0).to_string());
            [vec![format!("{}s", kind.as_str().replace('_', " "))], ways.to_vec()].concat()
        };
        table(&["KIND", "ADDED", "EQUAL", "REPLACED", "SKIPPED"], Kind::EXPORTED.map(row).to_vec())
    })?;
    if is_dry_run && output.is_table() {
        say("nothing was written");
    }
    Ok(())
}
