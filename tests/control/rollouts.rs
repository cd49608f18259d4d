//! `hotlist publish --wait` and `hotlist publications`: the binary, and nodes that the test controls.

use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

use hotlist::proto::control::v1::{Canary, Slot, Statistics, SyncRequest};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::common::{Agent, Plane, Scene};
use crate::process::{complains, hotlist, prints};

/// What a node makes of each version that it gets.
#[derive(Clone, Copy)]
enum Does {
    Acks,
    Refuses,
    Nothing,
    AcksWithout(Canary),
}

/// A node that asks for what serves and then does the same with everything that comes.
async fn node(plane: &Plane, name: &str, labels: &[(&str, &str)], does: Does) -> JoinHandle<()> {
    let mut agent = plane.node(name, labels).await;
    agent.ask(Slot::Serve, 0, 0).await;
    tokio::spawn(async move { follow(&mut agent, does).await })
}

async fn follow(agent: &mut Agent, does: Does) {
    while let Ok(Some(response)) = agent.wait_next().await {
        match does {
            Does::Acks => agent.ack(&response).await,
            Does::Refuses => agent.nack(&response, 0, "the snapshot\u{7} would be too large").await,
            Does::Nothing => {}
            Does::AcksWithout(canary) => {
                let statistics = Some(Statistics { canary: canary.into(), ..Statistics::default() });
                let (slot, version, nonce) = (response.slot, response.version, response.nonce);
                agent.send(SyncRequest { slot, version, nonce, statistics, ..SyncRequest::default() }).await;
            }
        }
    }
}

/// `hotlist publish --wait` for nodes with the label `group`.
async fn publish(scene: &Scene, name: &str, group: &str, timeout: &str) -> Output {
    publish_with(scene, name, group, timeout, &[]).await
}

async fn publish_with(scene: &Scene, name: &str, group: &str, timeout: &str, more: &[&str]) -> Output {
    let directory: PathBuf = scene.path().to_owned();
    let label = format!("group={group}");
    let arguments = [
        "publish",
        "--store",
        "store",
        "--audience",
        "acme",
        "--name",
        name,
        "--label",
        &label,
        "--wait",
        "--timeout",
        timeout,
    ]
    .iter()
    .chain(more)
    .map(|argument| (*argument).to_owned())
    .collect::<Vec<_>>();
    let run = move || hotlist(&directory, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn said(output: &Output) -> (String, String) {
    (String::from_utf8(output.stdout.clone()).unwrap(), String::from_utf8(output.stderr.clone()).unwrap())
}

/// Scenario: a publication for nodes that apply it, refuse it, do not answer, or are gone, and for none. Guarantee: the
/// command ends when every connected node has answered, or when its time is over; it lists each node that has not applied
/// the version with the reason, and its exit code says whether all connected ones have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_roll_out_is_waited_for() {
    let scene = Scene::new();
    let plane = Plane::start(&scene).await;
    let mut tasks = Vec::new();
    for (name, group, does) in [
        ("good-1", "good", Does::Acks),
        ("good-2", "good", Does::AcksWithout(Canary::Found)),
        ("bad-1", "bad", Does::Refuses),
        ("bad-2", "bad", Does::Acks),
        ("slow-1", "slow", Does::Nothing),
        ("slow-2", "slow", Does::Refuses),
        ("blind-1", "blind", Does::AcksWithout(Canary::Missing)),
    ] {
        tasks.push(node(&plane, name, &[("group", group)], does).await);
    }
    let mut gone = plane.node("good-3", &[("group", "good"), ("tenant", "t")]).await;
    gone.ask(Slot::Serve, 0, 0).await;
    plane.nodes_when(|nodes| nodes.len() == 8).await;
    gone.finish().await;
    plane.nodes_when(|nodes| nodes.iter().filter(|node| node.connected).count() == 7).await;

    let started = Instant::now();
    let output = publish(&scene, "good", "good", "60s").await;
    let (out, err) = said(&output);
    assert_eq!((output.status.code(), err.as_str()), (Some(0), ""), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "good serve version 1 for acme: 0 segments, not signed");
    assert_eq!(lines[1], "good serve version 1: applied by 2 of 3 nodes, 1 gone");
    assert!(lines[2].starts_with("  good-3 of tenant t: not connected, silent for ") && lines.len() == 3, "{out}");
    assert!(started.elapsed() < Duration::from_secs(40), "it ends when all have answered");

    let output = publish(&scene, "bad", "bad", "60s").await;
    let (out, err) = said(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(out.contains("bad serve version 2: applied by 1 of 2 nodes, 1 refused\n"), "{out}");
    assert!(
        out.contains("  bad-1: refused it and still has nothing: the snapshot\\u{7} would be too large\n"),
        "{out}"
    );
    assert!(err.contains("bad: 1 node refused version 2; fix it and publish again, or roll back"), "{err}");

    let output = publish(&scene, "slow", "slow", "2s").await;
    let (out, err) = said(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(out.contains("applied by 0 of 2 nodes, 1 refused, 1 waiting\n"), "{out}");
    assert!(out.contains("  slow-1: has not answered, and still has nothing\n"), "{out}");
    assert!(err.contains("1 node refused"), "{err}");

    let output = publish(&scene, "blind", "blind", "60s").await;
    let (out, err) = said(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(out.contains("  blind-1: has version 4, but its canary is not found in it\n"), "{out}");
    assert!(err.contains("blind: the canary of 1 node was not found in version 4"), "{err}");
    let nodes = plane.nodes().await;
    let canary = |name: &str| {
        let node = nodes.iter().find(|node| node.node.as_ref().unwrap().name == name).unwrap();
        node.statistics.map_or(Canary::Unspecified, |of| of.canary())
    };
    assert_eq!(
        [canary("blind-1"), canary("good-1"), canary("good-2")],
        [Canary::Missing, Canary::Unspecified, Canary::Found]
    );

    let output = publish_with(&scene, "bad", "bad", "60s", &["--json"]).await;
    let (out, err) = said(&output);
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [published, rollout] = lines.as_slice() else { panic!("{out}") };
    assert_eq!((&published["type"], &published["version"]), (&"publication".into(), &5.into()), "{published}");
    assert_eq!((&rollout["type"], &rollout["complete"]), (&"rollout".into(), &false.into()), "{rollout}");
    assert_eq!((&rollout["applied"], &rollout["refused"], &rollout["gone"]), (&1.into(), &1.into(), &0.into()));
    let refused = rollout["nodes"].as_array().unwrap().iter().find(|node| node["progress"] == "refused").unwrap();
    assert_eq!((&refused["name"], &refused["version"]), (&"bad-1".into(), &0.into()), "{refused}");
    assert_eq!(refused["reason"], "the snapshot\u{7} would be too large");
    assert!(err.contains(rollout["failure"].as_str().unwrap()), "{err}");

    let output = publish(&scene, "none", "none", "1s").await;
    let (out, err) = said(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(out.contains("none serve version 6: applied by 0 of 0 nodes\n"), "{out}");
    assert!(err.contains("none: version 6 targets no connected node"), "{err}");
    assert!(
        complains(
            scene.path(),
            &["publish", "--store", "store", "--name", "x", "--audience", "acme", "--wait", "--timeout", "soon"]
        )
        .contains("--timeout soon: give a time")
    );
    assert!(
        !scene.file("x", hotlist::intel::manifest::Mode::Serve).exists(),
        "nothing is published before that is known"
    );
    tasks.iter().for_each(JoinHandle::abort);
}

/// Scenario: somebody publishes again while the first waits. Guarantee: the first ends at once and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_superseded_roll_out_ends() {
    let scene = Scene::new();
    let plane = Plane::start(&scene).await;
    let silent = node(&plane, "n1", &[("group", "g")], Does::Nothing).await;
    plane.nodes_when(|nodes| nodes.len() == 1).await;
    let newer = async {
        plane.nodes_when(|nodes| nodes[0].slots.first().is_some_and(|slot| slot.wanted_version == 1)).await;
        scene.publish("p", &[("group", "g")], &[]);
    };
    let (output, ()) = tokio::join!(publish(&scene, "p", "g", "60s"), newer);
    let (_, err) = said(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(err.contains("p: version 1 was superseded by version 2 during the wait"), "{err}");
    silent.abort();
}

/// Scenario: two publications, published, promoted, rolled back, by a user with a note; a file of another program, a
/// damaged one, and a segment that is gone. Guarantee: every version that is kept is listed once, newest first, with who
/// made it and how, which is active, and its indicators; `rollback` takes what is listed and names the list otherwise.
#[test]
fn publications_are_listed() {
    let scene = Scene::new();
    let run = |arguments: &[&str]| prints(scene.path(), arguments);
    assert_eq!(run(&["publications", "--store", "store"]), "nothing is published\n");
    std::fs::write(scene.path().join("tor.txt"), "198.51.100.7\n198.51.100.8\nevil.example\n").unwrap();
    run(&["compile", "tor.txt", "--out", "store"]);
    let publish = ["publish", "--store", "store", "--audience", "acme"];
    let with = |more: &[&str]| run(&[&publish[..], more].concat());
    with(&["--name", "all", "--note", "feeds of\u{1b} Monday"]);
    std::fs::write(scene.path().join("tor.txt"), "198.51.100.7\nevil.example\nbad.example\nworse.example\n").unwrap();
    run(&["compile", "tor.txt", "--out", "store"]);
    with(&["--name", "all", "--label", "zone=eu", "--mode", "shadow"]);
    run(&["promote", "--store", "store", "--name", "all"]);
    run(&["rollback", "--store", "store", "--name", "all", "--to", "1", "--note", "too loud"]);
    let gone = scene.segment(b"a segment that goes");
    scene.publish("other", &[], &[gone]);
    std::fs::remove_file(scene.store.segment(&gone.digest)).unwrap();
    std::fs::write(scene.store.history().join("notes.json"), "{}").unwrap();
    std::fs::write(scene.store.history().join("all.serve.99.json"), "{").unwrap();

    let output = hotlist(scene.path(), &["publications", "--store", "store", "--json"]);
    let (out, err) = said(&output);
    assert!(
        output.status.success() && err.contains("all.serve.99.json: is not a publication") && !err.contains("notes"),
        "{err}"
    );
    let rows: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<(&str, &str, u64, bool, &Value)> = rows
        .iter()
        .map(|row| {
            let text = |key: &str| row[key].as_str().unwrap();
            (text("name"), text("mode"), row["version"].as_u64().unwrap(), row["active"] == true, &row["indicators"])
        })
        .collect();
    let (three, four, null) = (Value::from(3), Value::from(4), Value::Null);
    assert_eq!(
        told,
        [
            ("all", "serve", 4, true, &three),
            ("all", "serve", 3, false, &four),
            ("all", "serve", 1, false, &three),
            ("all", "shadow", 2, false, &four),
            ("other", "serve", 5, true, &null),
        ]
    );
    let how: Vec<&Value> = rows.iter().map(|row| &row["how"]).collect();
    assert_eq!(
        how,
        [
            &Value::from("rollback of version 1"),
            &"promote of version 2".into(),
            &"publish".into(),
            &"publish".into(),
            &null
        ]
    );
    assert_eq!((&rows[0]["note"], &rows[2]["note"]), (&"too loud".into(), &"feeds of\u{1b} Monday".into()));
    assert!(rows[0]["by"].as_str().is_some_and(|by| by.contains('@') || !by.is_empty()));
    assert_eq!(
        (&rows[1]["labels"]["zone"], &rows[1]["feeds"][0], &rows[1]["audience"]),
        (&"eu".into(), &"tor".into(), &"acme".into())
    );

    let table = hotlist(scene.path(), &["publications", "--store", "store", "--name", "all"]);
    let (table, _) = said(&table);
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((lines.len(), &lines[0][..4]), (5, &["NAME", "MODE", "VERSION", "ACTIVE"][..]));
    assert_eq!(lines[1][..4], ["all", "serve", "4", "yes"]);
    assert!(table.contains("feeds of\\u{1b} Monday") && !table.contains("other"), "{table}");

    let error = complains(scene.path(), &["rollback", "--store", "store", "--name", "all", "--to", "7"]);
    assert!(
        error.contains("version 7 is not kept; kept are 1, 3, 4, 99") && error.contains("`hotlist publications`"),
        "{error}"
    );
    let long = "x".repeat(201);
    let error = complains(scene.path(), &[&publish[..], &["--name", "all", "--note", &long]].concat());
    assert!(error.contains("--note: the note is longer than 200 characters"), "{error}");
}
