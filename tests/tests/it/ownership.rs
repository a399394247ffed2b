//! Deleting leaves nothing, foreign objects stay, apps cannot reach each other.

use std::time::Duration;

use api_types::{ConditionStatus, ConditionType, Reason};
use lab::platform::{IMAGE, Platform, says};

fn manifest(name: &str) -> String {
    format!(
        "apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {{name: {name}}}\nspec:\n  image: {IMAGE}\n  secrets: {{KEY: value}}\n  processes:\n    web: {{port: 8080, replicas: 2}}\n    worker: {{args: [worker]}}\n  domains: [{name}.example.com]\n  rollout: {{healthWindow: 1s}}\n"
    )
}

#[tokio::test]
async fn deleting_an_app_leaves_nothing_and_its_name_can_be_used_again() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    let before = platform.dockerd.everything().await?;
    platform.deploy(&manifest("shop")).await?;
    let uid = platform.app("shop").await?.metadata.uid;
    let output = platform.skyctl(&["delete", "app", "shop", "--wait", "--timeout", "60s"]).await?;
    assert_eq!(output.code, 0, "{output:?}\n{}", platform.log());
    assert!(platform.app("shop").await.is_err());
    assert_eq!(platform.dockerd.everything().await?, before, "something is left on the engine");
    platform.until_status("shop.example.com", 404, Duration::from_secs(2)).await?;
    platform.deploy(&manifest("shop")).await?;
    assert_ne!(platform.app("shop").await?.metadata.uid, uid);
    Ok(())
}

#[tokio::test]
async fn foreign_objects_are_not_touched_and_a_taken_name_is_told() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    let planted = platform.dockerd.plant_foreign_objects(IMAGE).await?;
    assert!(planted.lines().count() >= 8, "{planted}");
    platform.deploy(&manifest("shop")).await?;
    let output = platform.skyctl(&["delete", "app", "shop", "--wait", "--timeout", "60s"]).await?;
    assert_eq!(output.code, 0, "{output:?}");

    // An app whose image cannot be resolved has a uid, but nothing on the engine yet: take its network's name.
    platform.apply(&manifest("late").replace(IMAGE, "registry.invalid/late:1")).await?;
    let uid = platform.app("late").await?.metadata.uid.expect("a uid");
    let taken = skyswarm::kinds::app::names::network(&"late".parse()?, uid);
    platform.dockerd.take_network_name(&taken).await?;
    platform.apply(&manifest("late")).await?;
    let told = |app: &api_types::App| says(app, ConditionType::Accepted, ConditionStatus::False, Reason::NameTaken);
    platform.until("late", Duration::from_secs(30), "told that its name is taken", told).await?;
    assert_eq!(platform.dockerd.network_owner(&taken).await?, "somebody else");
    assert!(platform.dockerd.service_names().await?.is_empty());
    assert_eq!(platform.dockerd.foreign_objects().await?, planted, "a foreign object was changed");
    Ok(())
}

#[tokio::test]
async fn two_apps_cannot_reach_each_other_over_any_address() -> anyhow::Result<()> {
    let platform = Platform::start().await?;
    platform.deploy(&manifest("alpha")).await?;
    platform.deploy(&manifest("beta")).await?;
    let addresses = platform.dockerd.addresses_of("beta").await?;
    assert!(addresses.len() >= 4, "overlay and gateway addresses of two web tasks are expected: {addresses:?}");
    for address in &addresses {
        let (status, body) = platform.get("alpha-default.apps.localhost", &format!("/connect?addr={address}:8080")).await?;
        assert_eq!(status, 200, "{body}");
        assert!(body.starts_with("closed"), "alpha reaches beta at {address}: {body}");
    }
    // The probe itself works: an app reaches its own tasks by the process name.
    let (_, own) = platform.get("alpha-default.apps.localhost", "/connect?addr=127.0.0.1:8080").await?;
    assert!(own.starts_with("open"), "{own}");
    Ok(())
}
