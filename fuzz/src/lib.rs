//! What must hold for any bytes that reach a decoder of Nebula. One file a target, each with one
//! function `check`, which panics when the bytes break a promise.
//!
//! Whoever has bytes can ask: the fuzz targets beside this library, which make them up guided by
//! coverage, and the ordinary test `tests/decoders` of the main crate, which includes these files
//! and runs the seeds and the found cases without a fuzzer.

pub mod authorization;
pub mod body;
pub mod configuration;
pub mod desired;
pub mod image;
pub mod ports;
pub mod query;
pub mod schedule;

mod shared;

/// The check of one target.
pub type Check = fn(&[u8]);

/// Every target, by the name of its folders.
pub const ALL: [(&str, Check); 8] = [
    ("authorization", authorization::check),
    ("body", body::check),
    ("configuration", configuration::check),
    ("desired", desired::check),
    ("image", image::check),
    ("ports", ports::check),
    ("query", query::check),
    ("schedule", schedule::check),
];
