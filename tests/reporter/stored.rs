//! What is in the database.

use crate::process::Place;
use crate::until;
use futures_util::TryStreamExt;
use mongodb::Collection;
use mongodb::bson::{Document, RawDocumentBuf, doc};

/// One of a test's collections.
pub(crate) async fn collection(place: &Place, name: &str) -> Collection<Document> {
    let client = mongodb::Client::with_uri_str(&place.mongo).await.unwrap();
    client.database(&place.database).collection(name)
}

/// All documents of a collection, by id.
pub(crate) async fn all(place: &Place, name: &str) -> Vec<Document> {
    // By way of serde, a key like `$oid` in a report would mean something.
    let documents = collection(place, name).await.clone_with_type::<RawDocumentBuf>();
    let found = documents.find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap();
    let found: Vec<RawDocumentBuf> = found.try_collect().await.unwrap();
    found.iter().map(|document| Document::try_from(&**document).unwrap()).collect()
}

/// Waits until so many documents are in a collection, or more.
pub(crate) async fn holds(place: &Place, name: &str, least: u64) {
    holds_such(place, name, doc! {}, least).await;
}

/// Waits until so many documents of this kind are in a collection, or more.
pub(crate) async fn holds_such(place: &Place, name: &str, kind: Document, least: u64) {
    let documents = collection(place, name).await;
    until(&format!("{least} documents in {name} with {kind}"), async || {
        // The database may be away for the moment.
        documents.count_documents(kind.clone()).await.ok().filter(|count| *count >= least)
    })
    .await;
}
