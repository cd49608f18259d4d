//! Who calls: what the client's certificate says, in the manner of SPIFFE. A URI among its alternative names of the
//! form `spiffe://<trust domain>/tenant/<tenant>[/…]` says the tenant, `spiffe://<trust domain>/role/admin` gives the
//! role of operators. The authority that signed it is the trust domain's business; its name is not looked at.

use std::time::Duration;

use jiff::Timestamp;
use tonic::Status;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use super::super::names::Name;

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// Somebody of this host; without client certificates nobody else gets in.
    Local,
    /// Somebody with a certificate.
    Certified {
        /// Whose nodes it is for.
        tenant: Option<Name>,
        /// Whether it is an operator's.
        admin: bool,
        /// When the certificate's time is over, in seconds since 1970.
        expires: i64,
    },
    /// A certificate that contradicts itself or cannot be read, with the reason.
    Unusable(String),
}

const FORM: &str = "spiffe://<trust domain>/tenant/<tenant>";

impl Identity {
    /// What a certificate says, in DER.
    pub(super) fn of_certificate(der: &[u8]) -> Identity {
        match read(der) {
            Ok((tenant, admin, expires)) => Identity::Certified { tenant, admin, expires },
            Err(problem) => Identity::Unusable(problem),
        }
    }

    /// For how long it holds from now on; `None`: for ever.
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

    /// The tenant of a node that calls: `None` when only its label can say it.
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

    /// Whether operators' calls are answered.
    pub(super) fn check_admin(&self) -> Result<(), Status> {
        match self {
            Identity::Local | Identity::Certified { admin: true, .. } => Ok(()),
            Identity::Certified { .. } => Err(Status::permission_denied(
                "the client certificate has no role admin: give it the alternative name URI:spiffe://<trust domain>/role/admin",
            )),
            Identity::Unusable(problem) => Err(Status::permission_denied(problem.clone())),
        }
    }
}

fn read(der: &[u8]) -> Result<(Option<Name>, bool, i64), String> {
    let unreadable = |error: &dyn std::fmt::Display| format!("the client certificate cannot be read: {error}");
    let (_, certificate) = parse_x509_certificate(der).map_err(|error| unreadable(&error))?;
    let names = certificate.subject_alternative_name().map_err(|error| unreadable(&error))?;
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let uris = names.filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let (tenant, admin) = of_uris(uris)?;
    Ok((tenant, admin, certificate.validity().not_after.timestamp()))
}

fn of_uris<'a>(uris: impl Iterator<Item = &'a str>) -> Result<(Option<Name>, bool), String> {
    let (mut tenant, mut admin): (Option<Name>, bool) = (None, false);
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
                let name = Name::parse(name.unwrap_or("")).map_err(|error| {
                    format!("the client certificate's name {uri:?} is not of the form {FORM}: {error}")
                })?;
                if tenant.as_ref().is_some_and(|other| *other != name) {
                    return Err("the client certificate names several tenants: give each one of its own".to_owned());
                }
                tenant = Some(name);
            }
            (Some("role"), Some("admin")) if segments.next().is_none() => admin = true,
            _ => {}
        }
    }
    Ok((tenant, admin))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uris: &[&str]) -> Result<(Option<String>, bool), String> {
        of_uris(uris.iter().copied()).map(|(tenant, admin)| (tenant.map(|tenant| tenant.to_string()), admin))
    }

    #[test]
    fn tenant_and_role_stand_in_uris() {
        let acme = Some("acme".to_owned());
        assert_eq!(of(&[]), Ok((None, false)));
        assert_eq!(of(&["spiffe://example.org/tenant/acme"]), Ok((acme.clone(), false)));
        assert_eq!(of(&["spiffe://x/tenant/acme/node/n1", "spiffe://x/role/admin"]), Ok((acme, true)));
        for other in [
            "https://x/tenant/acme",
            "spiffe:///tenant/acme",
            "spiffe://tenant/acme",
            "spiffe://x/ns/tenant/acme",
            "spiffe://x/role/admin/not",
            "spiffe://x/role/administrator",
            "spiffe://x",
        ] {
            assert_eq!(of(&[other]), Ok((None, false)), "{other}");
        }
    }

    #[test]
    fn a_tenant_that_is_no_name_or_not_the_only_one_is_refused() {
        for bad in ["spiffe://x/tenant/", "spiffe://x/tenant", "spiffe://x/tenant/..", "spiffe://x/tenant/A%2f"] {
            assert!(of(&[bad]).is_err(), "{bad}");
        }
        assert!(of(&["spiffe://x/tenant/a", "spiffe://x/tenant/b"]).is_err());
        assert!(of(&["spiffe://x/tenant/a", "spiffe://y/tenant/a"]).is_ok());
        assert!(matches!(Identity::of_certificate(b"not DER"), Identity::Unusable(_)));
    }
}
