//! Permits by identity and by connection, so that no caller can exhaust what others need.
//!
//! A tenant must leave as much free as it holds: one greedy tenant holds half, two hold a third each, and so on, so some
//! is always free for the next tenant.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::counter;
use tonic::Status;

use super::limits::{Limits, Quota};
use crate::intel::manifest::Digest;
use crate::names::Name;
use crate::telemetry;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PermitKind {
    Connection,
    Sync,
    Fetch,
    Alerts,
    Operator,
    MessageBytes,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum QuotaOwner {
    /// A caller on this host, without a certificate: only connections and totals are bounded.
    Local,
    Tenant(Name),
    /// A certificate with the role admin and no tenant.
    Operator(Digest),
    /// A certificate without tenant or role.
    Nobody,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PermitHolder {
    pub(super) owner: QuotaOwner,
    /// The node in the certificate.
    pub(super) node: Option<Name>,
    /// The number of the connection.
    pub(super) connection: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExceededLimit {
    Connection,
    Node,
    Tenant,
    Total,
}

#[derive(Debug)]
pub(super) struct Quotas {
    limits: Limits,
    usage: [Mutex<PermitUsage>; 6],
}

#[derive(Debug, Default)]
struct PermitUsage {
    total: usize,
    held: HashMap<UsageKey, usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum UsageKey {
    Connection(u64),
    Node(QuotaOwner, Name),
    Owner(QuotaOwner),
}

/// Released when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    quotas: Arc<Quotas>,
    kind: PermitKind,
    keys: Vec<UsageKey>,
    amount: usize,
}

impl Quotas {
    pub(super) fn new(limits: Limits) -> Arc<Quotas> {
        Arc::new(Quotas { limits, usage: Default::default() })
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn take(
        self: &Arc<Self>,
        kind: PermitKind,
        holder: &PermitHolder,
        amount: usize,
    ) -> Result<Permit, ExceededLimit> {
        let Quota { total, node, connection } = self.quota(kind);
        let keys = holder.keys();
        let mut usage = lock(&self.usage[kind as usize]);
        let free = total.saturating_sub(usage.total);
        for key in &keys {
            let held = usage.held.get(key).copied().unwrap_or(0).saturating_add(amount);
            match key {
                UsageKey::Connection(_) if held > connection => return Err(ExceededLimit::Connection),
                UsageKey::Node(..) if held > node => return Err(ExceededLimit::Node),
                UsageKey::Owner(owner) if *owner != QuotaOwner::Local && held > free => {
                    return Err(ExceededLimit::Tenant);
                }
                _ => {}
            }
        }
        if amount > free {
            return Err(ExceededLimit::Total);
        }
        usage.total += amount;
        for key in &keys {
            *usage.held.entry(key.clone()).or_default() += amount;
        }
        Ok(Permit { quotas: Arc::clone(self), kind, keys, amount })
    }

    fn quota(&self, kind: PermitKind) -> Quota {
        match kind {
            PermitKind::Connection => self.limits.connections,
            PermitKind::Sync => self.limits.syncs,
            PermitKind::Fetch => self.limits.fetches,
            PermitKind::Alerts => self.limits.alerts,
            PermitKind::Operator => self.limits.operators,
            PermitKind::MessageBytes => self.limits.message_bytes,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut usage = lock(&self.quotas.usage[self.kind as usize]);
        usage.total = usage.total.saturating_sub(self.amount);
        for key in &self.keys {
            if let Some(held) = usage.held.get_mut(key) {
                *held = held.saturating_sub(self.amount);
                if *held == 0 {
                    usage.held.remove(key);
                }
            }
        }
    }
}

impl PermitHolder {
    fn keys(&self) -> Vec<UsageKey> {
        let mut keys = vec![UsageKey::Connection(self.connection)];
        keys.extend(self.node.clone().map(|node| UsageKey::Node(self.owner.clone(), node)));
        keys.push(UsageKey::Owner(self.owner.clone()));
        keys
    }
}

impl ExceededLimit {
    /// Counts the refusal, and returns the status of the call.
    pub(super) fn refuse(self, call: &'static str, kind: PermitKind) -> Status {
        let (reason, of) = match self {
            ExceededLimit::Connection => ("connection", "on this connection"),
            ExceededLimit::Node => ("node", "by this node"),
            ExceededLimit::Tenant => ("tenant", "by this tenant, which must leave as many for others"),
            ExceededLimit::Total => ("total", "by all callers"),
        };
        count_reason(call, reason);
        let what = match kind {
            PermitKind::Connection => "connections are held",
            PermitKind::Sync => "Sync streams are held",
            PermitKind::Fetch => "segments are being fetched",
            PermitKind::Alerts => "ReportAlerts streams are held",
            PermitKind::Operator => "calls of operators are held",
            PermitKind::MessageBytes => "bytes of requests are being received",
        };
        Status::resource_exhausted(format!("too many {what} {of}; end some, or retry later"))
    }
}

/// Counts the reason that a call was refused or ended.
pub(super) fn count_reason(call: &'static str, reason: &'static str) {
    counter!(telemetry::CONTROL_PLANE_REFUSAL_REASONS_TOTAL, "call" => call, "reason" => reason).increment(1);
}

// A panic elsewhere leaves a consistent state.
fn lock(mutex: &Mutex<PermitUsage>) -> MutexGuard<'_, PermitUsage> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUOTA: Quota = Quota { total: 24, node: 3, connection: 5 };

    fn quotas() -> Arc<Quotas> {
        Quotas::new(Limits { fetches: QUOTA, ..Limits::default() })
    }

    fn holder(tenant: u8, node: Option<u8>, connection: u64) -> PermitHolder {
        let name = |number: u8| Name::parse(&format!("n{number}")).unwrap();
        PermitHolder { owner: QuotaOwner::Tenant(name(tenant)), node: node.map(name), connection }
    }

    proptest! {
        /// Guarantee: whatever callers of some tenants take and give back, a tenant that holds nothing gets a permit; no
        /// holder has more than its bounds; what is given back is free again.
        #[test]
        fn a_tenant_that_holds_nothing_is_served(
            steps in proptest::collection::vec((0..3u8, proptest::option::of(0..4u8), 0..12u64, any::<bool>()), 0..200)
        ) {
            let quotas = quotas();
            let mut held: Vec<(PermitHolder, Permit)> = Vec::new();
            for (tenant, node, connection, takes) in steps {
                let holder = holder(tenant, node, connection);
                if !takes {
                    held.pop();
                } else if let Ok(permit) = quotas.take(PermitKind::Fetch, &holder, 1) {
                    held.push((holder.clone(), permit));
                }
                let count = |is: &dyn Fn(&PermitHolder) -> bool| held.iter().filter(|(holder, _)| is(holder)).count();
                prop_assert!(count(&|of| of.connection == connection) <= QUOTA.connection);
                prop_assert!(count(&|of| of.owner == holder.owner) <= QUOTA.total / 2);
                prop_assert!(node.is_none() || count(&|of| of.owner == holder.owner && of.node == holder.node) <= QUOTA.node);
                prop_assert!(quotas.take(PermitKind::Fetch, &self::holder(9, None, 99), 1).is_ok());
            }
            held.clear();
            let usage = lock(&quotas.usage[PermitKind::Fetch as usize]);
            prop_assert!(usage.total == 0 && usage.held.is_empty());
        }
    }

    #[test]
    fn a_host_without_certificates_has_no_share() {
        let quotas = quotas();
        let local = |connection| PermitHolder { owner: QuotaOwner::Local, node: None, connection };
        let held: Vec<_> = (0..24).map(|at| quotas.take(PermitKind::Fetch, &local(at / 5), 1).unwrap()).collect();
        assert_eq!(quotas.take(PermitKind::Fetch, &local(0), 1).unwrap_err(), ExceededLimit::Connection);
        assert_eq!(quotas.take(PermitKind::Fetch, &local(9), 1).unwrap_err(), ExceededLimit::Total);
        drop(held);
        assert_eq!(quotas.take(PermitKind::Fetch, &holder(1, None, 1), 6).unwrap_err(), ExceededLimit::Connection);
    }
}
