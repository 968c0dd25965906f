//! The routes of cron jobs.

use super::Shared;
use super::auth::Principal;
use super::body::{ObjectName, Payload};
use super::declarations::Change;
use super::objects::{exists, missing, new_name, refuse_existing, refuse_missing, unknown};
use super::reply::{Answer, Refusal, accepted, ok};
use crate::model::{CronJob, CronJobFields, CronJobSpec, Identity, Unknown};
use axum::Extension;
use axum::extract::State;
use std::sync::Arc;

const REQUIRED: [&str; 2] = ["docker_image", "schedule"];

/// `POST /cron_jobs/N`
pub(super) async fn create(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    ObjectName(name): ObjectName,
    body: Payload,
) -> Answer {
    refuse_existing::<CronJob>(&manager, &name).await?;
    let cron_job_name = new_name("cron_job_name", &name)?;
    let fields = body.fields()?;
    refuse_missing(fields, &REQUIRED)?;
    let spec = CronJobFields::decode(fields.clone(), Some(&name), Unknown::Refuse)?.into_spec()?;
    let job = CronJob { identity: Identity::default(), cron_job_id: 1, cron_job_name, spec };
    let change = Change::new(&who, "create", &name);
    Ok(ok(&manager.declarations.create(change, job, exists::<CronJob>()).await?))
}

/// `POST /cron_jobs/N/update`: what is not given goes back to its default.
pub(super) async fn replace(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    ObjectName(name): ObjectName,
    body: Payload,
) -> Answer {
    change(&manager, Change::new(&who, "replace", &name), move |_, name| {
        let fields = body.fields()?;
        if !missing(fields, &REQUIRED).is_empty() {
            return Err(Refusal::NothingGiven);
        }
        let fields = CronJobFields::decode(fields.clone(), Some(name), Unknown::Refuse)?;
        Ok(fields.into_spec()?)
    })
    .await
}

/// `PUT` and `PATCH /cron_jobs/N/update`: only what is given changes.
pub(super) async fn update(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    ObjectName(name): ObjectName,
    body: Payload,
) -> Answer {
    change(&manager, Change::new(&who, "update", &name), move |spec, name| {
        let fields = CronJobFields::decode(body.fields()?.clone(), Some(name), Unknown::Refuse)?;
        // Read-only keys that come back change nothing.
        if fields.is_empty() {
            return Err(Refusal::NothingGiven);
        }
        Ok(spec.with(fields)?)
    })
    .await
}

/// Every change of a cron job makes its id one higher, and answers 202 with the cron job.
async fn change(
    manager: &Shared,
    change: Change,
    edit: impl Fn(&CronJobSpec, &str) -> Result<CronJobSpec, Refusal> + Send + 'static,
) -> Answer {
    let edit = move |mut job: CronJob| {
        job.spec = edit(&job.spec, job.cron_job_name.as_str())?;
        job.cron_job_id = job.cron_job_id.saturating_add(1);
        Ok(job)
    };
    Ok(accepted(&manager.declarations.change(change, unknown::<CronJob>, edit).await?))
}
