//! The caller's identity from its client certificate, following SPIFFE. The alternative name
//! `spiffe://<trust domain>/tenant/<tenant>[/node/<node>]` gives the tenant and the only node name that the certificate
//! may be used for; `spiffe://<trust domain>/role/admin` gives the role of operators. The trust domain is not checked:
//! the certificate authority is responsible for it.

use std::time::Duration;

use jiff::Timestamp;
use metrics::counter;
use tonic::Status;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use super::quotas::{PermitHolder, QuotaOwner, count_reason};
use crate::intel::manifest::Digest;
use crate::names::Name;
use crate::telemetry::{self, Throttle};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// A caller on this host; without client certificates no other callers are accepted.
    Local,
    /// A caller with a certificate.
    Certified {
        /// The tenant of the nodes.
        tenant: Option<Name>,
        node: Option<Name>,
        /// Whether the caller is an operator.
        admin: bool,
        /// The expiry time, in seconds since 1970.
        expires: i64,
        /// The fingerprint of the certificate.
        digest: Digest,
    },
    /// A certificate that is contradictory or cannot be read, with the reason.
    Unusable(String),
}

const FORM: &str = "spiffe://<trust domain>/tenant/<tenant>/node/<node>";

impl Identity {
    /// Reads the identity in a certificate in DER.
    pub(super) fn from_certificate(der: &[u8]) -> Identity {
        match read(der) {
            Ok((CertificateNames { tenant, node, admin }, expires)) => {
                Identity::Certified { tenant, node, admin, expires, digest: Digest::sha256(der) }
            }
            Err(problem) => Identity::Unusable(problem),
        }
    }

    /// Returns the time until the certificate expires; `None` if it never does.
    pub(super) fn left(&self, now: Timestamp) -> Option<Duration> {
        match self {
            Identity::Certified { expires, .. } => {
                // Until the end of that second (RFC 5280 section 4.1.2.5).
                let left = expires.saturating_add(1).saturating_sub(now.as_second());
                Some(Duration::from_secs(left.try_into().unwrap_or(0)))
            }
            _ => None,
        }
    }

    /// Returns the tenant of a calling node: `None` when only the node's label can give it.
    pub(super) fn tenant(&self) -> Result<Option<&Name>, Status> {
        match self {
            Identity::Local => Ok(None),
            Identity::Certified { tenant: Some(tenant), .. } => Ok(Some(tenant)),
            Identity::Certified { tenant: None, .. } => Err(Status::permission_denied(format!(
                "the client certificate names no tenant: give it the alternative name URI:{FORM}"
            ))),
            Identity::Unusable(problem) => Err(Status::permission_denied(problem.clone())),
        }
    }

    /// Checks the node name of a call against the name in the certificate. A certificate without a node name may use any
    /// name of its tenant, which is counted and logged.
    pub(super) fn check_node(&self, call: &'static str, claimed: &Name) -> Result<(), Status> {
        match self {
            Identity::Certified { node: Some(node), .. } if node != claimed => {
                count_reason(call, "node_name");
                Err(Status::permission_denied(format!(
                    "the client certificate is for the node {node}, but the call names {claimed}: set the node's name to {node}, or issue a certificate for {claimed}"
                )))
            }
            Identity::Certified { node: None, tenant: Some(tenant), .. } => {
                static LINES: Throttle = Throttle::new();
                counter!(telemetry::CONTROL_PLANE_UNBOUND_NODES_TOTAL).increment(1);
                if let Some(left_out) = LINES.pass() {
                    let (tenant, node) = (tenant.as_str(), claimed.as_str());
                    tracing::warn!(
                        tenant,
                        node,
                        left_out,
                        "a client certificate names no node, so its bearer may use any node name of the tenant: issue certificates with the alternative name URI:{FORM}"
                    );
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Returns the holder whose quotas the caller's calls count towards.
    pub(super) fn holder(&self, connection: u64) -> PermitHolder {
        let (owner, node) = match self {
            Identity::Local => (QuotaOwner::Local, None),
            Identity::Certified { tenant: Some(tenant), node, .. } => {
                (QuotaOwner::Tenant(tenant.clone()), node.clone())
            }
            Identity::Certified { admin: true, digest, .. } => (QuotaOwner::Operator(*digest), None),
            Identity::Certified { .. } | Identity::Unusable(_) => (QuotaOwner::Nobody, None),
        };
        PermitHolder { owner, node, connection }
    }

    /// Checks that the caller is an operator.
    pub(super) fn check_admin(&self) -> Result<(), Status> {
        match self {
            Identity::Local | Identity::Certified { admin: true, .. } => Ok(()),
            Identity::Certified { .. } => Err(Status::permission_denied(
                "the client certificate does not have the role admin: issue one with the alternative name URI:spiffe://<trust domain>/role/admin",
            )),
            Identity::Unusable(problem) => Err(Status::permission_denied(problem.clone())),
        }
    }
}

/// The tenant, node and role in the names of a certificate.
#[derive(Debug, Default, PartialEq, Eq)]
struct CertificateNames {
    tenant: Option<Name>,
    node: Option<Name>,
    admin: bool,
}

fn read(der: &[u8]) -> Result<(CertificateNames, i64), String> {
    let unreadable = |error: &dyn std::fmt::Display| format!("the client certificate cannot be read: {error}");
    let (_, certificate) = parse_x509_certificate(der).map_err(|error| unreadable(&error))?;
    let names = certificate.subject_alternative_name().map_err(|error| unreadable(&error))?;
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let uris = names.filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    Ok((names_in_uris(uris)?, certificate.validity().not_after.timestamp()))
}

fn names_in_uris<'a>(uris: impl Iterator<Item = &'a str>) -> Result<CertificateNames, String> {
    let mut names = CertificateNames::default();
    for uri in uris {
        let Some((domain, path)) = uri.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/')) else {
            continue;
        };
        if domain.is_empty() {
            continue;
        }
        let mut segments = path.split('/');
        match (segments.next(), segments.next()) {
            (Some("tenant"), name) => {
                set_once(&mut names.tenant, uri, name, "tenants")?;
                if segments.next() == Some("node") {
                    set_once(&mut names.node, uri, segments.next(), "nodes")?;
                }
            }
            (Some("role"), Some("admin")) if segments.next().is_none() => names.admin = true,
            _ => {}
        }
    }
    Ok(names)
}

/// Stores a name that may occur only once in a certificate.
fn set_once(noted: &mut Option<Name>, uri: &str, name: Option<&str>, what: &str) -> Result<(), String> {
    let name = Name::parse(name.unwrap_or(""))
        .map_err(|error| format!("the client certificate's name {uri:?} is not of the form {FORM}: {error}"))?;
    if noted.as_ref().is_some_and(|other| *other != name) {
        return Err(format!("the client certificate names several {what}: issue a separate certificate for each"));
    }
    *noted = Some(name);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity_in(uris: &[&str]) -> Result<(Option<String>, bool), String> {
        names_in_uris(uris.iter().copied()).map(|names| (names.tenant.map(|tenant| tenant.to_string()), names.admin))
    }

    #[test]
    fn tenant_and_role_stand_in_uris() {
        let acme = Some("acme".to_owned());
        assert_eq!(identity_in(&[]), Ok((None, false)));
        assert_eq!(identity_in(&["spiffe://example.org/tenant/acme"]), Ok((acme.clone(), false)));
        assert_eq!(identity_in(&["spiffe://x/tenant/acme/node/n1", "spiffe://x/role/admin"]), Ok((acme, true)));
        for other in [
            "https://x/tenant/acme",
            "spiffe:///tenant/acme",
            "spiffe://tenant/acme",
            "spiffe://x/ns/tenant/acme",
            "spiffe://x/role/admin/not",
            "spiffe://x/role/administrator",
            "spiffe://x",
        ] {
            assert_eq!(identity_in(&[other]), Ok((None, false)), "{other}");
        }
    }

    #[test]
    fn a_certificate_for_a_node_is_for_that_node_only() {
        let name = |text: &str| Name::parse(text).unwrap();
        let certified = |uris: &[&str]| {
            let CertificateNames { tenant, node, admin } = names_in_uris(uris.iter().copied()).unwrap();
            Identity::Certified { tenant, node, admin, expires: 0, digest: Digest([0; 32]) }
        };
        for bound in ["spiffe://x/tenant/a/node/n1", "spiffe://x/tenant/a/node/n1/more"] {
            let bound = certified(&[bound, "spiffe://x/tenant/a"]);
            assert!(bound.check_node("sync", &name("n1")).is_ok());
            let status = bound.check_node("sync", &name("n2")).unwrap_err();
            assert_eq!(status.code(), tonic::Code::PermissionDenied);
            assert!(["n1", "n2"].iter().all(|name| status.message().contains(name)), "{status}");
            assert_eq!(bound.holder(7).node, Some(name("n1")));
        }
        let free = certified(&["spiffe://x/tenant/a/host/n1"]);
        assert!(free.check_node("sync", &name("n2")).is_ok());
        assert_eq!(free.holder(7), PermitHolder { owner: QuotaOwner::Tenant(name("a")), node: None, connection: 7 });
        assert_eq!(Identity::Unusable(String::new()).holder(1).owner, QuotaOwner::Nobody);
    }

    #[test]
    fn a_tenant_that_is_no_name_or_not_the_only_one_is_refused() {
        for bad in ["spiffe://x/tenant/", "spiffe://x/tenant", "spiffe://x/tenant/..", "spiffe://x/tenant/A%2f"] {
            assert!(identity_in(&[bad]).is_err(), "{bad}");
        }
        assert!(identity_in(&["spiffe://x/tenant/a", "spiffe://x/tenant/b"]).is_err());
        assert!(identity_in(&["spiffe://x/tenant/a", "spiffe://y/tenant/a"]).is_ok());
        for bad in ["spiffe://x/tenant/a/node", "spiffe://x/tenant/a/node/", "spiffe://x/tenant/a/node/N1"] {
            assert!(identity_in(&[bad]).is_err(), "{bad}");
        }
        assert!(identity_in(&["spiffe://x/tenant/a/node/n1", "spiffe://x/tenant/a/node/n2"]).is_err());
        assert!(matches!(Identity::from_certificate(b"not DER"), Identity::Unusable(_)));
    }
}
