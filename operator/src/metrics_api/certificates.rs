//! The certificate that the metrics API serves with, and the authority that the API server believes it by. Pure but for the
//! randomness in keys.
//!
//! The authority lives for years and is what the API server is told, so that a new certificate changes nothing for it. An
//! authority that is replaced stays among those that are believed, for replicas that still serve with its certificate.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Days that an authority lives, and before whose end it is replaced.
const AUTHORITY_DAYS: (i32, i64) = (3650, 365);
/// The same of a certificate.
const CERTIFICATE_DAYS: (i32, i64) = (90, 30);
/// Keys of the Secret.
const KEYS: [&str; 4] = ["ca.crt", "ca.key", "tls.crt", "tls.key"];
const DAY_SECONDS: i64 = 86_400;

/// Everything that the Secret holds, as PEM. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificates {
    /// The authorities that are believed, the newest first.
    pub authorities: String,
    authority_key: String,
    /// The certificate that is served with.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a certificate: {0}")]
pub struct CertificateError(#[from] rcgen::Error);

impl Certificates {
    /// What a Secret holds; `None` where anything is missing.
    pub fn of(secret: &Secret) -> Option<Self> {
        let data = secret.data.as_ref()?;
        let text = |key: &str| String::from_utf8(data.get(key)?.0.clone()).ok();
        let [authorities, authority_key, certificate, key] = KEYS.map(text);
        Some(Self { authorities: authorities?, authority_key: authority_key?, certificate: certificate?, key: key? })
    }

    /// The Secret's data.
    pub fn data(&self) -> BTreeMap<String, ByteString> {
        let values = [&self.authorities, &self.authority_key, &self.certificate, &self.key];
        KEYS.iter()
            .zip(values)
            .map(|(key, value)| ((*key).to_owned(), ByteString(value.clone().into_bytes())))
            .collect()
    }

    /// What is to be held from now on, and whether that is something new. `names`: DNS names of the Service.
    pub fn renewed(held: Option<Self>, names: &[String], now: Timestamp) -> Result<(Self, bool), CertificateError> {
        let trusted = match held {
            Some(held) if !due(&held.authorities, AUTHORITY_DAYS.1, now) => held,
            held => Self::with_new_authority(held.as_ref(), now)?,
        };
        if !due(&trusted.certificate, CERTIFICATE_DAYS.1, now) {
            return Ok((trusted, false));
        }
        Ok((trusted.with_new_certificate(names, now)?, true))
    }

    fn with_new_authority(held: Option<&Self>, now: Timestamp) -> Result<Self, CertificateError> {
        let key = KeyPair::generate()?;
        let mut params = authority()?;
        live(&mut params, AUTHORITY_DAYS.0, now);
        let own = params.self_signed(&key)?.pem();
        let before = held.and_then(|held| first(&held.authorities)).unwrap_or_default();
        let (certificate, authority_key) = (String::new(), key.serialize_pem());
        Ok(Self { authorities: format!("{own}{before}"), authority_key, certificate, key: String::new() })
    }

    fn with_new_certificate(&self, names: &[String], now: Timestamp) -> Result<Self, CertificateError> {
        let issuer = Issuer::new(authority()?, KeyPair::from_pem(&self.authority_key)?);
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = name(names.first().map_or("wscluster", String::as_str));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        live(&mut params, CERTIFICATE_DAYS.0, now);
        let certificate = params.signed_by(&key, &issuer)?.pem();
        Ok(Self { certificate, key: key.serialize_pem(), ..self.clone() })
    }
}

/// The authority's own parameters: with its key they make it again.
fn authority() -> Result<CertificateParams, CertificateError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = name("wscluster-metrics-api");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    Ok(params)
}

fn name(common: &str) -> DistinguishedName {
    // Source: RFC 5280, appendix A.1, ub-common-name.
    let common: String = common.chars().take(64).collect();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

/// From the day before, for clocks that are late.
fn live(params: &mut CertificateParams, days: i32, now: Timestamp) {
    let date = |days: i32| {
        let date = now.to_zoned(TimeZone::UTC).date().saturating_add(Span::new().days(days));
        rcgen::date_time_ymd(i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    (params.not_before, params.not_after) = (date(-1), date(days));
}

/// Whether the first certificate of a PEM ends within so many days. One that cannot be read has ended.
fn due(pem: &str, days: i64, now: Timestamp) -> bool {
    ends(pem).is_none_or(|end| end - now.as_second() < days * DAY_SECONDS)
}

/// When the first certificate of a PEM ends, in seconds since the Unix epoch.
fn ends(pem: &str) -> Option<i64> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// The first certificate of a PEM, as PEM.
fn first(pem: &str) -> Option<String> {
    const END: &str = "-----END CERTIFICATE-----\n";
    let end = pem.find(END)? + END.len();
    Some(pem[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + day * DAY_SECONDS).unwrap()
    }

    fn renewed(held: Option<&Certificates>, day: i64) -> Option<Certificates> {
        let (certificates, new) = Certificates::renewed(held.cloned(), &["svc.ns.svc".to_owned()], at(day)).unwrap();
        new.then_some(certificates)
    }

    #[test]
    fn a_certificate_is_made_kept_and_renewed_before_it_ends() {
        let first = renewed(None, 0).expect("there was none");
        assert!(renewed(Some(&first), 0).is_none() && renewed(Some(&first), 59).is_none());
        let second = renewed(Some(&first), 61).expect("it is due");
        assert!(first.authorities == second.authorities, "the API server need not be told");
        assert!(first.certificate != second.certificate && first.key != second.key);
        assert!(renewed(Some(&second), 61).is_none());
    }

    #[test]
    fn an_authority_that_is_replaced_is_still_believed() {
        let first = renewed(None, 0).unwrap();
        let second = renewed(Some(&first), 3300).expect("it is due");
        assert!(second.authorities.ends_with(&first.authorities) && second.authorities != first.authorities);
        let third = renewed(Some(&second), 6600).expect("it is due");
        assert_eq!(third.authorities.matches("BEGIN").count(), 2, "the one before that has ended");
    }

    #[test]
    fn what_cannot_be_read_is_made_anew() {
        let good = renewed(None, 0).unwrap();
        let broken = Certificates { certificate: "x".to_owned(), ..good.clone() };
        assert!(renewed(Some(&broken), 0).is_some_and(|made| made.authorities == good.authorities));
        let broken = Certificates { authorities: "x".to_owned(), ..good.clone() };
        assert!(renewed(Some(&broken), 0).is_some_and(|made| made.authorities.matches("BEGIN").count() == 1));
    }

    #[test]
    fn a_secret_holds_all_of_it() {
        let made = renewed(None, 0).unwrap();
        let mut secret = Secret { data: Some(made.data()), ..Secret::default() };
        assert!(Certificates::of(&secret).as_ref() == Some(&made));
        secret.data.as_mut().unwrap().remove("tls.key");
        assert!(Certificates::of(&secret).is_none());
    }
}
