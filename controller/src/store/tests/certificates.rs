//! Certificates: what is taken and refused, that the key is never in clear, and renewal.

use api_types::api::ApplyAction;
use api_types::{Certificate, CertificateSpec, Condition, ConditionStatus, ConditionType, Reason, SecretValue};
use sqlx::PgPool;

use super::*;
use crate::certificate::tests::{Made, self_signed};
use crate::store::StoreError;

const UNTIL: &str = "2040-01-01";

fn certificate(name: &str, chain: &str, key: Option<&str>) -> Manifest {
    let spec = CertificateSpec { chain: chain.to_owned(), private_key: key.map(|key| SecretValue::new(key.to_owned())) };
    Manifest::Certificate(Certificate::new(ObjectMeta::named(name), spec))
}

fn of(name: &str, made: &Made) -> Manifest {
    certificate(name, &made.chain, Some(&made.key))
}

async fn opened(pool: &PgPool) -> (Store, tempfile::TempDir) {
    let (store, keys) = (acme(pool).await, tempfile::tempdir().expect("a folder"));
    store.open_keyring(&keys.path().join("key")).await.expect("opens");
    (store, keys)
}

/// The middle of a PEM text, which no other has.
fn canary(pem: &str) -> &str {
    pem.lines().nth(1).expect("a line")
}

#[sqlx::test(migrations = "../migrations")]
async fn a_certificate_is_kept_with_its_key_and_the_key_is_nowhere_in_clear(pool: PgPool) {
    let (store, _keys) = opened(&pool).await;
    let made = self_signed(&["a.example", "*.a.example"], UNTIL);
    assert_eq!(action(&store, of("own", &made)).await, ApplyAction::Created);
    let found = store.certificate_get(&"own".parse().expect("a name")).await.expect("reads").expect("is there");
    let status = found.status.as_ref().expect("is read from the chain");
    assert_eq!(status.dns_names, ["a.example", "*.a.example"]);
    assert_eq!(found.spec.private_key, None);
    let pairs = store.certificate_pairs().await.expect("decrypts");
    assert_eq!((pairs.len(), pairs[0].key.as_str(), &pairs[0].fingerprint), (1, made.key.as_str(), &status.fingerprint));
    assert_eq!(store.edge_inputs().await.expect("reads").certificates, pairs);

    let (dump, shown) = (dump(&pool).await, format!("{found:?} {pairs:?}") + &serde_json::to_string(&found).expect("json"));
    let canary = canary(&made.key);
    for text in [dump, shown] {
        assert!(!text.contains(canary) && !text.contains(&hex::encode(canary)) && !text.contains("PRIVATE KEY"), "{text}");
    }
    assert!(store.certificate_delete(&"own".parse().expect("a name"), None, &cx()).await.expect("deletes"));
    assert!(!store.certificate_delete(&"own".parse().expect("a name"), None, &cx()).await.expect("answers"));
    assert!(store.certificate_pairs().await.expect("reads").is_empty());
}

#[sqlx::test(migrations = "../migrations")]
async fn a_renewal_is_a_new_generation_and_the_same_again_is_nothing(pool: PgPool) {
    let (store, _keys) = opened(&pool).await;
    let (first, second) = (self_signed(&["a.example"], UNTIL), self_signed(&["a.example"], UNTIL));
    assert_eq!(action(&store, of("own", &first)).await, ApplyAction::Created);
    for same in [of("own", &first), certificate("own", &first.chain, None), certificate("own", &format!("# note\n{}", first.chain), None)] {
        assert_eq!(action(&store, same).await, ApplyAction::Unchanged);
    }
    let errors = invalid(apply(&store, &[certificate("own", &second.chain, None)]).await);
    assert_eq!((errors[0].1.as_str(), errors[0].2.contains("not that of the new chain")), ("spec.privateKey", true), "{errors:?}");
    assert_eq!(action(&store, of("own", &second)).await, ApplyAction::Configured);
    let list = store.certificate_list().await.expect("lists");
    assert_eq!((list.len(), list[0].metadata.generation), (1, Some(2)));
    assert_eq!(store.certificate_pairs().await.expect("decrypts")[0].key.as_str(), second.key);
}

#[sqlx::test(migrations = "../migrations")]
async fn what_would_not_serve_is_refused_and_nothing_is_written(pool: PgPool) {
    let (store, _keys) = opened(&pool).await;
    let (good, other, old) =
        (self_signed(&["a.example"], UNTIL), self_signed(&["a.example"], UNTIL), self_signed(&["a.example"], "2021-01-01"));
    let before = dump(&pool).await;
    for (manifest, path, words) in [
        (certificate("own", &good.chain, None), "spec.privateKey", "none is stored"),
        (certificate("own", &good.chain, Some(&other.key)), "spec.privateKey", "key of another certificate"),
        (certificate("own", &good.chain, Some("hunter2")), "spec.privateKey", "no private key"),
        (certificate("own", "hunter2", Some(&good.key)), "spec.chain", "no certificate"),
        (certificate("own", &format!("{}{}", good.chain, good.key), None), "spec.chain", "move the key to spec.privateKey"),
        (of("own", &old), "spec.chain", "it ended on 2021-01-01"),
    ] {
        let errors = invalid(apply(&store, &[manifest]).await);
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].1, path);
        assert!(errors[0].2.contains(words) && !errors[0].2.contains("hunter2"), "{errors:?}");
    }
    assert_eq!(dump(&pool).await, before);
}

#[sqlx::test(migrations = "../migrations")]
async fn only_the_leader_says_what_it_saw(pool: PgPool) {
    let (store, _keys) = opened(&pool).await;
    apply(&store, &[of("own", &self_signed(&["a.example"], UNTIL))]).await.expect("applies");
    let uid = store.certificate_list().await.expect("lists")[0].metadata.uid.expect("a uid");
    let epoch = lead(&store, "one").await;
    let condition = Condition {
        kind: ConditionType::Ready,
        status: ConditionStatus::True,
        reason: Reason::CertificateServed,
        message: "seen".to_owned(),
        observed_generation: 1,
        last_transition_time: start(),
    };
    store.certificate_conditions_put(&[(uid, vec![condition.clone()])], epoch).await.expect("writes");
    let list = store.certificate_list().await.expect("lists");
    assert_eq!(list[0].status.as_ref().expect("a status").conditions, [condition]);
    let version = list[0].metadata.resource_version.clone();
    let refused = store.certificate_conditions_put(&[(uid, Vec::new())], epoch - 1).await;
    assert!(matches!(refused, Err(StoreError::Deposed)), "{refused:?}");
    assert_eq!(store.certificate_list().await.expect("lists")[0].metadata.resource_version, version, "a status is no change of the object");
}
