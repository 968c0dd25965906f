//! The routes: one method each.

use super::device_page::{self, DevicePage};
use super::report_page::{self, ReportPage};
use super::{
    Action, Ask, CheckedIn, Client, ClientError, ClockDifference, Credentials, Info, Noun, Object,
    Reply, refusal,
};
use crate::config::Secret;
use crate::model::{DeviceQuery, ReportQuery};
use reqwest::header::ETAG;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::time::{Duration, Instant, SystemTime};

impl Client {
    /// Asks whether the API is there and takes the credentials.
    pub async fn status(&self) -> Result<Reply<Object>, ClientError> {
        self.object(Method::GET, &["status"], None).await
    }

    /// The names of all objects of a kind that the user may read.
    pub async fn list(&self, noun: Noun) -> Result<Reply<Vec<String>>, ClientError> {
        let reply = self.object(Method::GET, &[noun.collection()], None).await?;
        let names = reply.content.get(noun.collection()).and_then(Value::as_array).map(|items| {
            items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        });
        match names.flatten() {
            Some(content) => Ok(Reply { bytes: reply.bytes, content }),
            None => Err(ClientError::Shape { expected: "a list of names" }),
        }
    }

    /// One object.
    pub async fn get(&self, noun: Noun, name: &str) -> Result<Reply<Object>, ClientError> {
        self.object(Method::GET, &[noun.collection(), name], None).await
    }

    /// Creates an object and returns it.
    pub async fn create(
        &self,
        noun: Noun,
        name: &str,
        body: &Object,
    ) -> Result<Reply<Object>, ClientError> {
        self.object(Method::POST, &[noun.collection(), name], Some(body)).await
    }

    /// Changes the given fields of an object and returns it.
    pub async fn update(
        &self,
        noun: Noun,
        name: &str,
        body: &Object,
    ) -> Result<Reply<Object>, ClientError> {
        self.object(Method::PATCH, &[noun.collection(), name, "update"], Some(body)).await
    }

    /// Deletes an object.
    pub async fn delete(&self, noun: Noun, name: &str) -> Result<Reply<Object>, ClientError> {
        self.object(Method::DELETE, &[noun.collection(), name], None).await
    }

    /// Starts, stops or restarts an app everywhere, and returns it.
    pub async fn act(&self, app: &str, action: Action) -> Result<Reply<Object>, ClientError> {
        self.object(Method::POST, &[Noun::App.collection(), app, action.verb()], None).await
    }

    /// The last versions of an app, the newest first.
    pub async fn history(&self, app: &str) -> Result<Reply<Object>, ClientError> {
        self.object(Method::GET, &[Noun::App.collection(), app, "history"], None).await
    }

    /// Goes back to an earlier version of an app, by its id or to the last that differs, and
    /// returns the app.
    pub async fn rollback(
        &self,
        app: &str,
        app_id: Option<u64>,
    ) -> Result<Reply<Object>, ClientError> {
        let body: Object = app_id.map(|id| ("app_id".to_owned(), id.into())).into_iter().collect();
        let path = [Noun::App.collection(), app, "rollback"];
        self.object(Method::POST, &path, Some(&body)).await
    }

    /// How far the devices are with an app or with what their group lists.
    pub async fn rollout(&self, noun: Noun, name: &str) -> Result<Reply<Object>, ClientError> {
        self.object(Method::GET, &[noun.collection(), name, "status"], None).await
    }

    /// A page of the devices that the user may see.
    pub async fn devices(&self, query: &DeviceQuery) -> Result<Reply<DevicePage>, ClientError> {
        let mut url = self.route(&["devices"])?;
        url.query_pairs_mut().extend_pairs(device_page::pairs(query));
        let reply = self.object_at(Method::GET, url, None).await?;
        match device_page::read(reply.content) {
            Some(content) => Ok(Reply { bytes: reply.bytes, content }),
            None => Err(ClientError::Shape { expected: "a page of devices" }),
        }
    }

    /// One device of the inventory.
    pub async fn device(&self, hostname: &str) -> Result<Reply<Object>, ClientError> {
        self.object(Method::GET, &["devices", hostname], None).await
    }

    /// Takes a device out of the inventory, until it is heard of again.
    pub async fn delete_device(&self, hostname: &str) -> Result<Reply<Object>, ClientError> {
        self.object(Method::DELETE, &["devices", hostname], None).await
    }

    /// Ends what a device presents as itself: its own token, and its certificates that were issued
    /// until now.
    pub async fn revoke_device(&self, hostname: &str) -> Result<Reply<Object>, ClientError> {
        self.object(Method::POST, &["devices", hostname, "revoke"], None).await
    }

    /// Makes a token with which devices enroll in a group; the reply shows it in clear, this once.
    pub async fn new_enrollment(
        &self,
        group: &str,
        body: &Object,
    ) -> Result<Reply<Object>, ClientError> {
        let path = [Noun::DeviceGroup.collection(), group, "enroll"];
        self.object(Method::POST, &path, Some(body)).await
    }

    /// Hands the token that a device made for itself to the manager, with an enrollment token as the
    /// credentials. The same request again answers the same. Returns the device's group.
    pub async fn enroll(
        &self,
        enrollment: &Secret<String>,
        hostname: &str,
        token: &Secret<String>,
    ) -> Result<String, ClientError> {
        let body = [("hostname", hostname), ("token", token.expose())];
        let body = body.map(|(key, value)| (key.to_owned(), value.into())).into_iter().collect();
        let once = self.asking_as(&Credentials::Bearer(enrollment.clone()))?;
        let reply = once.object(Method::POST, &["enroll"], Some(&body)).await?.content;
        let said = |key: &str| reply.get(key).and_then(Value::as_str);
        match (said("hostname"), said("device_group")) {
            (Some(named), Some(group)) if named == hostname => Ok(group.to_owned()),
            _ => Err(ClientError::Shape { expected: "this device's enrollment" }),
        }
    }

    /// Whether the manager lets a device in by this token, as far as it says so.
    pub async fn is_enrolled(&self, group: &str, token: &Secret<String>) -> bool {
        match self.asking_as(&Credentials::Bearer(token.clone())) {
            Ok(device) => device.info(group, None).await.is_ok(),
            Err(_) => false,
        }
    }

    /// Orders every device of every group to remove unused images.
    pub async fn prune_all(&self) -> Result<Reply<Object>, ClientError> {
        self.object(Method::POST, &["prune"], None).await
    }

    /// Orders every device of a group to remove unused images, and returns the group.
    pub async fn prune_device_group(&self, name: &str) -> Result<Reply<Object>, ClientError> {
        self.object(Method::POST, &[Noun::DeviceGroup.collection(), name, "prune"], None).await
    }

    /// Gives a user a new token, which the reply shows in clear, this once.
    pub async fn refresh_user(&self, name: &str) -> Result<Reply<Object>, ClientError> {
        self.object(Method::POST, &[Noun::User.collection(), name, "refresh"], None).await
    }

    /// A page of the reports that the user may read.
    pub async fn reports(&self, query: &ReportQuery) -> Result<Reply<ReportPage>, ClientError> {
        let mut url = self.route(&["reports"])?;
        url.query_pairs_mut().extend_pairs(report_page::pairs(query));
        let reply = self.object_at(Method::GET, url, None).await?;
        match report_page::read(reply.content) {
            Some(content) => Ok(Reply { bytes: reply.bytes, content }),
            None => Err(ClientError::Shape { expected: "a page of reports" }),
        }
    }

    /// What a device of the group runs. With the `etag` of an earlier answer the manager may say
    /// that it still holds.
    pub async fn info(&self, group: &str, etag: Option<&str>) -> Result<Info, ClientError> {
        Ok(self.check_in(group, etag, None).await?.info)
    }

    /// The same, and what else the answer shows. With a `wait` beside the `etag`, in whole seconds,
    /// the manager says that it still holds when that time is over and nothing came up. The
    /// request's limit is then longer by the wait.
    pub async fn check_in(
        &self,
        group: &str,
        etag: Option<&str>,
        wait: Option<Duration>,
    ) -> Result<CheckedIn, ClientError> {
        let mut url = self.route(&[Noun::DeviceGroup.collection(), group, "info"])?;
        if let Some(wait) = wait {
            url.query_pairs_mut().append_pair("wait", &wait.as_secs().to_string());
        }
        let limit = self.timeout.saturating_add(wait.unwrap_or_default());
        let asked = Instant::now();
        let ask = Ask {
            method: Method::GET,
            url,
            body: None,
            etag,
            limit: Some(limit),
            is_report: false,
        };
        let response = self.send(ask).await?;
        let (status, headers) = (response.status(), response.headers());
        // Nothing came up in the whole wait, so the answer was not written before its end.
        let held =
            wait.filter(|wait| status == StatusCode::NOT_MODIFIED && asked.elapsed() >= *wait);
        let since = asked + held.unwrap_or_default();
        let clock = ClockDifference::of(headers, since, SystemTime::now());
        let retry_after = refusal::retry_after(headers);
        let info = match (status, etag) {
            (StatusCode::NOT_MODIFIED, Some(_)) => Info::NotModified,
            (StatusCode::OK, _) => {
                let etag = headers.get(ETAG).and_then(|value| value.to_str().ok());
                let etag = etag.map(str::to_owned);
                Info::Answer { bytes: self.json_body(response, limit).await?, etag }
            }
            _ => return Err(refusal::read(response).await),
        };
        Ok(CheckedIn { info, clock, retry_after })
    }
}
