//! The route of reports: no report reaches the embedded store yet, so every page is the last one.

use crate::harness::Manager;
use serde_json::json;

#[tokio::test]
async fn a_page_without_reports_has_the_form_of_the_last_one() {
    let manager = Manager::start().await;
    let empty = (200, json!({ "data": null, "last_id": null }));
    for query in [
        "",
        "?",
        "?page_size=1",
        "?page_size=1000",
        "?hostname=speaker-1&device_group=eu",
        "?hostname=&device_group=",
        "?hostname=%C3%A4%20b%26c",
        "?report_creation_time=1700000000",
        "?report_creation_time=-5&report_creation_time_filter=gte",
        "?report_creation_time_filter=ne",
        "?updated=True",
        "?updated=False",
        "?updated=true",
        "?last_id=0123456789abcdefABCDEF01",
    ] {
        assert_eq!(manager.get(&format!("/reports{query}")).await, empty, "{query}");
    }
}

#[tokio::test]
async fn a_query_that_cannot_be_read_is_refused_by_its_key() {
    let manager = Manager::start().await;
    let long = format!("?{}=1", "k".repeat(5_000));
    for (query, key) in [
        ("?page_size=0", "page_size"),
        ("?page_size=1001", "page_size"),
        ("?page_size=-1", "page_size"),
        ("?page_size=ten", "page_size"),
        ("?page_size=", "page_size"),
        ("?page_size=99999999999999999999", "page_size"),
        ("?page_size=5&page_size=6", "page_size"),
        ("?report_creation_time=now", "report_creation_time"),
        ("?report_creation_time=1.5", "report_creation_time"),
        ("?report_creation_time=1&report_creation_time_filter=like", "report_creation_time_filter"),
        ("?updated=1", "updated"),
        ("?updated=TRUE", "updated"),
        ("?last_id=xyz", "last_id"),
        ("?last_id=0123456789abcdef0123456", "last_id"),
        ("?colour=red", "colour"),
        ("?hostname=a&hostname=b", "hostname"),
        (&long, &format!("{}…", "k".repeat(100))),
    ] {
        let (status, answer) = manager.get(&format!("/reports{query}")).await;
        assert!(status == 400 && answer[key].is_string(), "{query} {answer}");
    }
    // Bytes that are no UTF-8 end nothing.
    assert_eq!(manager.get("/reports?hostname=%FF%00").await.0, 200);
}
