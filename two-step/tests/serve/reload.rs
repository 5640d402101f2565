//! Reloading the configuration with SIGHUP.

use crate::service::Service;

#[tokio::test]
async fn sighup_applies_a_valid_configuration_and_ignores_an_invalid_one() {
    let mut service = Service::new();
    service.start();
    let key = service.key();
    let (old, new) = ("https://shop.example/2fa", "https://shop.example/new");
    assert_eq!(
        (service.create_challenge(&key, old).await, service.create_challenge(&key, new).await),
        (201, 422)
    );

    service.configure(new, "smtp.from = 'other@shop.example'");
    service.signal("HUP");
    assert!(service.until("this key needs a restart").contains("smtp"));
    service.until("the configuration was reloaded");
    assert_eq!(
        (service.create_challenge(&key, old).await, service.create_challenge(&key, new).await),
        (422, 201)
    );

    // Another root prints the same mask, but the change is still detected.
    let root = service.run(&["keys", "root"]);
    std::fs::write(service.folder.join("root"), root.stdout).unwrap();
    service.signal("HUP");
    assert!(service.until("this key needs a restart").contains("keys"));
    service.until("the configuration was reloaded");
    assert_eq!(service.create_challenge(&key, new).await, 201, "the first root is still used");

    service.configure(old, "no.such.key = 1");
    service.signal("HUP");
    let said = service.until("the previous configuration stays in use");
    assert!(said.contains("unknown field `no`"), "{said}");
    assert_eq!(
        (service.create_challenge(&key, old).await, service.create_challenge(&key, new).await),
        (422, 201)
    );

    service.signal("TERM");
    service.until("stopping");
    assert!(service.process.as_mut().unwrap().wait().unwrap().success());
}
