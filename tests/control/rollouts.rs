//! `hotlist publish --wait` and `hotlist publications`: the binary, and nodes that the test controls.

use std::path::PathBuf;
use std::process::Output;

use hotlist::proto::control::v1::{Canary, Slot, Statistics, SyncRequest};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::common::{Agent, Plane, Scene};
use crate::parts::assert_line;
use crate::process::{complains, hotlist, prints};

/// The answer of a node to each version.
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

    let output = publish(&scene, "good", "good", "60s").await;
    let (out, err) = said(&output);
    assert_eq!((output.status.code(), err.as_str()), (Some(0), ""), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 3, "{out}");
    assert_line(lines[0], &["good serve version 1", "acme", "0 segments", "not signed"]);
    assert_line(lines[1], &["good serve version 1", "2 of 3 nodes", "1 gone"]);
    assert_line(lines[2], &["good-3", "tenant t", "not connected"]);

    let output = publish(&scene, "bad", "bad", "60s").await;
    let (out, err) = said(&output);
    assert_eq!(output.status.code(), Some(1));
    assert_line(&out, &["bad serve version 2", "1 of 2 nodes", "1 refused"]);
    assert_line(&out, &["bad-1", "refused", "still has nothing", "the snapshot\\u{7} would be too large"]);
    assert_line(&err, &["bad", "1 node refused", "version 2", "publish again", "roll back"]);

    let output = publish(&scene, "slow", "slow", "2s").await;
    let (out, err) = said(&output);
    assert_eq!(output.status.code(), Some(1));
    assert_line(&out, &["0 of 2 nodes", "1 refused", "1 waiting"]);
    assert_line(&out, &["slow-1", "not answered", "still has nothing"]);
    assert_line(&err, &["1 node refused"]);

    let output = publish(&scene, "blind", "blind", "60s").await;
    let (out, err) = said(&output);
    assert_eq!(output.status.code(), Some(1));
    assert_line(&out, &["blind-1", "version 4", "canary"]);
    assert_line(&err, &["blind", "canary", "1 node", "version 4"]);
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
    assert_line(&out, &["none serve version 6", "0 of 0 nodes"]);
    assert_line(&err, &["none", "version 6", "no connected node"]);
    let wait = ["publish", "--store", "store", "--name", "x", "--audience", "acme", "--wait", "--timeout", "soon"];
    assert_line(&complains(scene.path(), &wait), &["--timeout soon", "give"]);
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
    assert_line(&err, &["p", "version 1", "superseded", "version 2"]);
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
    assert!(output.status.success() && !err.contains("notes"), "{err}");
    assert_line(&err, &["all.serve.99.json", "not a publication"]);
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
    assert_line(&error, &["version 7", "1, 3, 4, 99", "`hotlist publications`"]);
    let long = "x".repeat(201);
    let error = complains(scene.path(), &[&publish[..], &["--name", "all", "--note", &long]].concat());
    assert_line(&error, &["--note", "200"]);
}
