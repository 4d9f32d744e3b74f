//! Tests.

mod generated;
