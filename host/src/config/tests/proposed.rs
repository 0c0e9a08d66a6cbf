//! Policies that are asked about stand where a tenant's own would.

use super::*;

const AROUND: &str = "policies: {before: [{plugin: relabel, name: first}], after: [{plugin: limits}]}\n";

fn proposed(name: Option<&str>) -> Proposed {
    let bytes = builtin("relabel").unwrap();
    Proposed {
        name: name.map(str::to_owned),
        plugin: plugin_source("relabel", bytes, None),
        settings: "{}".to_owned(),
    }
}

fn names(tenant: &Tenant) -> Vec<&str> {
    tenant.policies.iter().map(|policy| policy.name.as_str()).collect()
}

fn of(tenant: &str, own: Vec<Proposed>) -> Result<(Tenant, usize, usize), (usize, String)> {
    let config = main_file(&format!("{AROUND}tenants: [{tenant}]\n"))
        .load()
        .unwrap()
        .config;
    with_own_policies(&config.tenants[&self::tenant("a")], own)
}

#[test]
fn proposed_policies_stand_between_the_operators_whether_or_not_there_were_others() {
    let with = "{tenant: a, shown_budgets: [x], policies: [{plugin: route}, {plugin: relabel, name: second}]}";
    for tenant in ["{tenant: a}", with] {
        let (whole, first, count) = of(tenant, vec![proposed(None), proposed(Some("mine")), proposed(None)]).unwrap();
        assert_eq!(
            names(&whole),
            ["first", "relabel", "mine", "relabel-2", "limits"],
            "{tenant}"
        );
        assert_eq!((first, count), (1, 3));
        assert!(whole.policies[1..4].iter().all(|policy| policy.owner == Owner::Tenant));
        assert!(whole.shown_budgets.is_empty());
        let (none, ..) = of(tenant, Vec::new()).unwrap();
        assert_eq!(names(&none), ["first", "limits"]);
    }
}

#[test]
fn a_name_that_another_policy_has_or_none_can_have_is_refused_with_its_place() {
    for (name, told) in [
        ("first", "another policy of this chain is named `first`"),
        ("limits", "another policy of this chain is named `limits`"),
        ("one", "another policy of this chain is named `one`"),
        ("a/b", "of the characters"),
        ("", "of the characters"),
    ] {
        let (place, fault) = of("{tenant: a}", vec![proposed(Some("one")), proposed(Some(name))]).unwrap_err();
        assert!(place == 1 && fault.contains(told), "{name}: {fault}");
    }
}
