//! Requests recorded from a real Fluent Bit, through the transport and out again.

use std::path::PathBuf;

use bytes::Bytes;

use crate::client::Client;
use crate::next_hop::NextHop;
use crate::sidecar::Sidecar;
use crate::wire::frame;

/// Scenario: what Fluent Bit sends, invalid UTF-8 and 63 levels of nesting included. Guarantee: byte for byte the same
/// at the next hop.
#[tokio::test]
async fn recorded_requests_pass_byte_for_byte() {
    let shared = std::env::var_os("HOTLIST_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let directory = shared.join("captures/fluent-bit");
    if !directory.is_dir() {
        assert!(std::env::var_os("CI").is_none(), "{} is missing", directory.display());
        println!("SKIPPED: {} is missing", directory.display());
        return;
    }
    let mut next_hop = NextHop::start().await;
    let sidecar = Sidecar::start(&next_hop.endpoint);
    let mut passed = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "bin") {
            continue;
        }
        let message = Bytes::from(std::fs::read(&path).unwrap());
        if message.len() > 4 << 20 {
            continue;
        }
        let client = Client::connect(&sidecar.address).await;
        let (answer, arrived) = tokio::join!(client.export(frame(0, &message)), async {
            let arrived = next_hop.arrived().await;
            let message = arrived.message();
            arrived.ok();
            message
        });
        assert_eq!(answer.status(), 0, "{}", path.display());
        assert!(arrived == message, "{}", path.display());
        passed += 1;
    }
    assert!(passed > 20, "{passed}");
}
