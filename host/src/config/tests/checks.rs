//! What a check sees that a start does not, or does not mind.

use super::*;

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAQ==\n-----END CERTIFICATE-----";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nAQ==\n-----END PRIVATE KEY-----\n";

#[test]
fn certificates_joined_without_a_line_end_are_all_there() {
    let folder = Folder::new(&[
        (
            "g.yaml",
            "remote_write: {tls_server_config: {cert_file: crt, key_file: key, client_ca_file: crt}}\n\
             upstreams: {a: {endpoints: ['https://r:1'], tls_config: {ca_file: crt, cert_file: crt, key_file: key}}}\n",
        ),
        ("crt", &format!("{CERTIFICATE}{CERTIFICATE}")),
        ("key", KEY),
    ]);
    let config = folder.load().unwrap().config;
    let (server, client) = (
        config.remote_write.tls.unwrap(),
        config.upstreams["a"].tls.clone().unwrap(),
    );
    let apart = format!("{CERTIFICATE}\n{CERTIFICATE}");
    for pem in [
        server.cert,
        server.client_ca.unwrap(),
        client.ca.unwrap(),
        client.client.unwrap().0,
    ] {
        assert_eq!(&*pem, apart.as_bytes());
    }
    assert_eq!(&*server.key, KEY.as_bytes());
}

#[test]
fn what_is_no_main_file_is_told_what_it_is() {
    for (text, expected) in [
        (
            "credentials: []\ntenant: a\n",
            "g.yaml:2:9: tenant: this is the file of one tenant, not a main file; give the main file, which names this one in `tenant_files` and is checked together with it\n",
        ),
        (
            "\0asm\r\0\x01\0",
            "g.yaml: this is a WebAssembly file, not a configuration; name it in the `plugins` of a main file, and give that one, which is checked together with it\n",
        ),
    ] {
        let folder = Folder::new(&[("g.yaml", text)]);
        assert_eq!(folder.say(&folder.load().unwrap_err()), expected);
    }
}

#[test]
fn a_plugin_that_no_policy_uses_is_told() {
    let folder = main_file(
        "plugins: {idle: {file: idle.wasm}, own: {file: own.wasm}, house: {file: house.wasm}}\n\
         policies: {after: [{plugin: house}]}\n\
         tenant_files: ['t/*.yaml']\n",
    );
    for plugin in ["idle", "own", "house"] {
        folder.write(&format!("{plugin}.wasm"), plugin);
    }
    let own = "tenant: a\ncredentials: [{client_certificate: {dns_san: a}}]\npolicies: [{plugin: own}]\n";
    folder.write("t/a.yaml", own);
    let told = |loaded: &Loaded| {
        let warnings = loaded
            .warnings
            .iter()
            .filter(|warning| warning.contains("no policy uses"));
        let warnings: Vec<String> = warnings
            .map(|warning| warning.replace(&format!("{}/", folder.0.path().display()), ""))
            .collect();
        let unused: Vec<String> = loaded.unused.iter().map(|plugin| plugin.name.clone()).collect();
        (warnings, unused)
    };
    let wanted = vec!["g.yaml:3:17: plugins.idle: no policy uses this plugin".to_owned()];
    assert_eq!(told(&folder.load().unwrap()), (wanted, vec!["idle".to_owned()]));
    // Who knows what a file that cannot be read would use.
    folder.write("t/b.yaml", "tenant: b\npolicies: [");
    assert!(told(&folder.load().unwrap()).0.is_empty());
}

#[test]
fn files_with_secrets_may_be_missing_where_the_operator_says_so() {
    let main = "remote_write: {tls_server_config: {cert_file: crt, key_file: key, client_ca_file: ca}}
upstreams: {soft: {endpoints: ['https://r:1'], tls_config: {ca_file: ca, cert_file: crt, key_file: key}}}
tenant_files: ['t/*.yaml']
";
    let folder = Folder::new(&[
        ("g.yaml", main),
        ("ca", CERTIFICATE),
        (
            "t/a.yaml",
            "tenant: a\ncredentials:\n  - {bearer_token_file: ../a/token}\n  - {basic_auth: {username: a, password_file: ../a/word}}\n",
        ),
        (
            "t/b.yaml",
            "tenant: b\ncredentials: [{bearer_token_file: ../b/token}]\n",
        ),
    ]);
    assert!(folder.load().is_err());
    let without = || load_without_secrets(&folder.path("g.yaml"));
    let loaded = without().unwrap();
    assert_eq!(
        folder.say(&loaded.broken.iter().flat_map(|b| b.errors.clone()).collect::<Vec<_>>()),
        ""
    );
    assert_eq!(
        (loaded.config.tenants.len(), loaded.warnings.len()),
        (2, 0),
        "{:?}",
        loaded.warnings
    );
    let tls = loaded.config.remote_write.tls.unwrap();
    assert!(tls.cert.is_empty() && tls.key.is_empty() && tls.client_ca.is_some());
    assert!(loaded.config.upstreams["soft"].tls.as_ref().unwrap().client.is_none());

    // Two tenants with one file have one token, whatever is in it.
    let twin = "tenant: b\ncredentials: [{bearer_token_file: ../a/token}]\n";
    folder.write("t/b.yaml", twin);
    assert_eq!(without().unwrap().broken.len(), 2);
    // What is there is checked; what is no secret must be there.
    folder.write(
        "t/b.yaml",
        "tenant: b\ncredentials: [{bearer_token_file: ../b/token}]\n",
    );
    folder.write("a/token", "two words");
    assert_eq!(without().unwrap().broken.len(), 1);
    folder.write("key", KEY);
    assert_eq!(
        folder.say(&without().unwrap_err()),
        "g.yaml:1:47: remote_write.tls_server_config.cert_file: cannot read `crt`: there is no such file\n\
         g.yaml:2:85: upstreams.soft.tls_config.cert_file: cannot read `crt`: there is no such file\n"
    );
}

#[test]
fn a_mistake_in_settings_has_the_place_of_what_the_plugin_named() {
    let folder = main_file("tenant_files: ['t/*.yaml']\n");
    let text = "tenant: a
policies:
  - plugin: relabel
  - plugin: limits
    settings:
      rates: [{burst: 1}, {burst: 2}]
";
    folder.write("t/a.yaml", text);
    let policies = folder.load().unwrap().config.tenants[&tenant("a")].policies.clone();
    let at = &policies[1].written_at;
    let told = |said: &str| folder.say(&[at.mistake_in_settings(said, "wrong".into())]);
    assert_eq!(
        told("rates[1].burst must be more"),
        "t/a.yaml:6:35: policies[1].settings: wrong\n"
    );
    assert_eq!(
        told("unknown key `rates[0].burst`"),
        "t/a.yaml:6:23: policies[1].settings: wrong\n"
    );
    assert_eq!(
        told("nobody knows where"),
        "t/a.yaml:6:7: policies[1].settings: wrong\n"
    );
    assert_eq!(
        folder.say(&[at.mistake("wrong".into())]),
        "t/a.yaml:4:5: policies[1]: wrong\n"
    );
    assert_eq!(policies[0].written_at, policies[1].written_at);
    // The file is another by now.
    folder.write("t/a.yaml", "tenant: [");
    assert_eq!(told("rates[1].burst"), "t/a.yaml:4:5: policies[1].settings: wrong\n");
}

#[test]
fn balancers_are_named_by_address_or_by_network() {
    let load = |protocol: &str| {
        let text = format!(
            "remote_write: {{insecure_http: true, proxy_protocol: {protocol}}}\nupstreams: {{soft: {{endpoints: ['http://r:1']}}}}\n"
        );
        let folder = Folder::new(&[("g.yaml", &text)]);
        folder.load().map_err(|errors| folder.say(&errors))
    };
    let config = load("{trusted: [10.0.0.0/8, '2001:db8::1', '::ffff:10.1.0.0/112', '::ffff:10.2.0.1']}")
        .unwrap()
        .config;
    let networks = config.remote_write.proxy_protocol.iter().map(ToString::to_string);
    assert_eq!(
        networks.collect::<Vec<_>>(),
        ["10.0.0.0/8", "2001:db8::1/128", "10.1.0.0/16", "10.2.0.1/32"]
    );
    for (protocol, told) in [
        (
            "{trusted: [10.0.0.0/33]}",
            "g.yaml:1:64: remote_write.proxy_protocol.trusted[0]: expected an address or a network such as `10.0.0.0/8` or `2001:db8::/32`\n",
        ),
        ("{}", "g.yaml:1:53: remote_write.proxy_protocol: `trusted` is missing\n"),
    ] {
        assert_eq!(load(protocol).unwrap_err(), told);
    }
}

fn mode_of(mode: &str) -> Result<Mode, String> {
    let folder = main_file(&format!(
        "tenants: [{{tenant: a, policies: [{{plugin: relabel, mode: {mode}}}]}}]"
    ));
    match folder.load() {
        Ok(loaded) => Ok(loaded.config.tenants[&tenant("a")].policies[0].mode),
        Err(errors) => Err(folder.say(&errors)),
    }
}

#[test]
fn a_policy_is_enforced_in_shadow_or_on_a_part() {
    assert_eq!(mode_of("enforce"), Ok(Mode::Enforce));
    assert_eq!(mode_of("shadow"), Ok(Mode::Shadow));
    assert_eq!(mode_of("{enforce: 10%}"), Ok(Mode::EnforcePart(10)));
    assert_eq!(mode_of("{enforce: 1%}"), Ok(Mode::EnforcePart(1)));
    assert_eq!(mode_of("{enforce: 100%}"), Ok(Mode::Enforce));
    let plain = main_file("tenants: [{tenant: a, policies: [{plugin: relabel}]}]")
        .load()
        .unwrap();
    assert_eq!(plain.config.tenants[&tenant("a")].policies[0].mode, Mode::Enforce);
}

#[test]
fn what_is_no_mode_is_told_with_its_place() {
    for part in ["0%", "101%", "10", "-1%", "1.5%", "256%"] {
        let error = mode_of(&format!("{{enforce: {part}}}")).unwrap_err();
        assert!(
            error.starts_with("g.yaml:3:68: tenants[0].policies[0].mode.enforce: expected a whole percentage"),
            "{part}: {error}"
        );
    }
    let error = mode_of("shadwo").unwrap_err();
    assert!(error.contains("did you mean `shadow`?"), "{error}");
    assert!(
        mode_of("{enforced: 10%}").unwrap_err().contains("enforced"),
        "a key that is not known"
    );
}
