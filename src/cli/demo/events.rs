//! The events of the demo: ordinary events with varying values, and regularly an incident from the examples.

use anyhow::Context;
use jiff::Timestamp;
use serde_json::Value;

use super::example;

/// One event in this many is an incident.
pub(super) const INCIDENT_EVERY: u64 = 50;

/// An endless, repeatable source of events.
pub(super) struct Events {
    traffic: Vec<Value>,
    incidents: Vec<Value>,
    sent: u64,
    numbers: RandomNumbers,
}

impl Events {
    pub(super) fn new() -> anyhow::Result<Events> {
        Ok(Events {
            traffic: documents(example::TRAFFIC).context("the example traffic")?,
            incidents: documents(example::INCIDENTS).context("the example incidents")?,
            sent: 0,
            numbers: RandomNumbers(0),
        })
    }

    /// Returns the next events, all at one time.
    pub(super) fn next_batch(&mut self, count: usize, now: Timestamp) -> Vec<Value> {
        let time = Value::from(now.to_string());
        (0..count).map(|_| self.next_event(&time)).collect()
    }

    fn next_event(&mut self, time: &Value) -> Value {
        let nth = |events: &[Value], at: u64| {
            let at = usize::try_from(at).unwrap_or_default() % events.len().max(1);
            events.get(at).cloned().unwrap_or_default()
        };
        let (round, place) = (self.sent / INCIDENT_EVERY, self.sent % INCIDENT_EVERY);
        self.sent += 1;
        let mut event = match place {
            0 => nth(&self.incidents, round),
            _ => {
                let mut event = nth(&self.traffic, self.sent);
                vary("", &mut event, &mut self.numbers);
                event
            }
        };
        if let Some(members) = event.as_object_mut() {
            members.insert("@timestamp".to_owned(), time.clone());
        }
        event
    }
}

fn documents(lines: &str) -> anyhow::Result<Vec<Value>> {
    lines.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// Replaces values at identifying fields by new values of the same kind. `key` is the key that leads to `value`.
fn vary(key: &str, value: &mut Value, numbers: &mut RandomNumbers) {
    match value {
        Value::Object(members) => members.iter_mut().for_each(|(key, value)| vary(key, value, numbers)),
        Value::Array(items) => items.iter_mut().for_each(|item| vary(key, item, numbers)),
        Value::String(text) => {
            let n = numbers.next();
            match key.rsplit('.').next().unwrap_or(key) {
                // RFC 2544: addresses for benchmarks, which are not assigned.
                "ip" | "resolved_ip" => *text = format!("198.{}.{}.{}", 18 + n % 2, n >> 8 & 255, n >> 16 & 255),
                "domain" | "registered_domain" => *text = format!("host{}.shop-front.example", n % 5000),
                "full" => {
                    *text = format!("https://host{}.daily-post.example/a/{}?n={}", n % 500, n >> 9 & 4095, n >> 40)
                }
                "sha256" => *text = (0..4).map(|_| format!("{:016x}", numbers.next())).collect(),
                _ => {}
            }
        }
        _ => {}
    }
}

/// SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators", 2014): the same events
/// in every run.
struct RandomNumbers(u64);

impl RandomNumbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Two runs send the same events; within one run they differ, and every incident comes round.
    #[test]
    fn events_are_repeatable_varied_and_hold_every_incident() {
        let batch = || Events::new().unwrap().next_batch(2000, Timestamp::UNIX_EPOCH);
        let events = batch();
        assert_eq!(events, batch());
        let distinct: HashSet<String> = events.iter().map(Value::to_string).collect();
        assert!(distinct.len() > 1500, "only {} of 2000 differ", distinct.len());
        let mut source = Events::new().unwrap();
        for incident in &mut source.incidents {
            incident["@timestamp"] = Timestamp::UNIX_EPOCH.to_string().into();
            assert!(events.contains(incident), "{incident}");
        }
    }
}
