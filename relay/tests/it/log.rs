//! The log holds no secret, however much is logged, of a relay that was logged in to and refused things.

use std::fs::File;
use std::process::Stdio;

use nodespace_protocol::crypto::{KeyPair, Signature};
use nodespace_protocol::ids::hex;
use nodespace_protocol::view::{Encoding, LoginCertificate, login};
use nodespace_relay::hex::unhex;
use nodespace_relay::key::RelayKey;
use nodespace_relay::relay::KEY_FILE;
use reqwest::Client;
use serde_json::json;

use crate::command::{Served, Setting};
use crate::world::{Answer, Device, http, seed};

struct Asking {
    http: Client,
    relay: Served,
}

impl Asking {
    async fn post(&self, path: &str, token: Option<&str>, body: Vec<u8>) -> Answer {
        let mut request = self.http.post(format!("{}{path}", self.relay.url)).body(body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    async fn challenge(&self, device: &Device) -> String {
        let request = json!({ "device_id": device.author.key.device(), "workspace_id": device.workspace });
        let drawn = self.post("/v1/challenge", None, request.to_string().into()).await;
        drawn.json()["challenge"].as_str().unwrap().to_owned()
    }

    async fn answer(&self, device: &Device, challenge: &str, signature: &Signature) -> Answer {
        let credential = json!({ "device": { "certificate": LoginCertificate::from(&device.certificate()) } });
        let request = json!({ "challenge": challenge, "signature": hex(&signature.0), "credential": credential });
        self.post("/v1/token", None, request.to_string().into()).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_the_log_of_logins_and_refusals() {
    const DATABASE: &str = "d4tabase-passw0rd";
    const REDIS: &str = "r3dis-passw0rd";
    const STORAGE: &str = "st0rage-key";
    const TEXT: &str = "what somebody wrote";
    let mut setting = Setting::new().await;
    let redis = format!("{}?pass={REDIS}", crate::servers::Shared::get().redis());
    // Servers of tests ask nobody on their socket for a password. This PostgreSQL does not look at one, and Redis refuses it: the better.
    setting.database = setting.database.replace("//relay@", &format!("//relay:{DATABASE}@"));
    let log = setting.data.path().join("log");
    let mut command = setting.command(&["serve"]);
    command.env("NODESPACE_RELAY_LOG_LEVEL", "trace").env("NODESPACE_RELAY_REDIS_URL", &redis);
    command.env("NODESPACE_RELAY_STORAGE_SECRET_ACCESS_KEY", STORAGE).stderr(Stdio::from(File::create(&log).unwrap()));
    let asking = Asking { http: http(), relay: Served::start(&mut command) };
    let key_file = setting.data.path().join(KEY_FILE);
    let relay_id = RelayKey::load(&key_file).unwrap().id();
    let mut device = Device::found();
    device.create("a", TEXT);

    // In, and refused: another's signature, a challenge that is used up, tokens that are none, packets that are none.
    let challenge = asking.challenge(&device).await;
    let drawn = unhex(&challenge).unwrap();
    let forged = login::answer(&KeyPair::from_seed(&seed()), &relay_id, &device.workspace, &drawn);
    assert_eq!(asking.answer(&device, &challenge, &forged).await.refusal(), (401, "bad_answer".into()));
    let signature = login::answer(&device.author.key, &relay_id, &device.workspace, &drawn);
    let granted = asking.answer(&device, &challenge, &signature).await;
    let token = granted.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(asking.answer(&device, &challenge, &signature).await.refusal(), (401, "challenge_answered".into()));
    let unused = asking.challenge(&device).await;
    let invented = hex(&seed());
    let packet = device.packet(8).to_bytes(Encoding::Cbor).unwrap();
    assert_eq!(asking.post("/v1/sync", Some(&invented), packet.clone()).await.refusal(), (401, "unknown_token".into()));
    assert_eq!(asking.post("/v1/sync", Some(&token), packet).await.sync().applied_operations.len(), 2);
    assert!(asking.post("/v1/sync", Some(&token), TEXT.into()).await.status.is_client_error());
    let elsewhere = format!("/v1/workspaces/{}/attachments", hex(&seed()));
    assert_eq!(asking.post(&elsewhere, Some(&token), Vec::new()).await.refusal(), (403, "wrong_workspace".into()));
    assert_eq!(asking.relay.stop(), Some(0));

    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("answered"), "not only what is worth a warning is in it: {log}");
    let key = std::fs::read_to_string(key_file).unwrap();
    for secret in [token.as_str(), &invented, &challenge, &unused, key.trim(), DATABASE, REDIS, STORAGE, TEXT] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} is in the log");
    }
}
