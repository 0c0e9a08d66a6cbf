//! What `wit/policy.wit` says, as Rust: one module per world, sharing one set of types.
//!
//! Takes the contract at compile time; gives types, traits and export macros. Never edited by hand.

// The generated code passes a record's fields one by one.
#![allow(clippy::too_many_arguments)]

/// World `tenant-policy`: decides about series and about writes.
pub mod tenant {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "tenant-policy",
        pub_export_macro: true,
        export_macro_name: "export_tenant_policy",
        default_bindings_module: "gauntlet_policy::bindings::tenant",
        type_section_suffix: "tenant",
        runtime_path: "::gauntlet_policy::wit_bindgen::rt",
        additional_derives: [PartialEq],
    });
}

/// World `relabel-policy`: decides about series only.
pub mod relabel {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "relabel-policy",
        with: {
            "gauntlet:policy/types@1.0.0": crate::bindings::tenant::gauntlet::policy::types,
            "gauntlet:policy/log@1.0.0": crate::bindings::tenant::gauntlet::policy::log,
        },
        pub_export_macro: true,
        export_macro_name: "export_relabel_policy",
        default_bindings_module: "gauntlet_policy::bindings::relabel",
        type_section_suffix: "relabel",
        runtime_path: "::gauntlet_policy::wit_bindgen::rt",
    });
}

/// World `admission-policy`: decides about writes only.
pub mod admission {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "admission-policy",
        with: {
            "gauntlet:policy/types@1.0.0": crate::bindings::tenant::gauntlet::policy::types,
            "gauntlet:policy/log@1.0.0": crate::bindings::tenant::gauntlet::policy::log,
        },
        pub_export_macro: true,
        export_macro_name: "export_admission_policy",
        default_bindings_module: "gauntlet_policy::bindings::admission",
        type_section_suffix: "admission",
        runtime_path: "::gauntlet_policy::wit_bindgen::rt",
    });
}

/// World `remembered-admission`: says what decisions about writes depend on.
pub mod remembered {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "remembered-admission",
        pub_export_macro: true,
        export_macro_name: "export_remembered_admission",
        default_bindings_module: "gauntlet_policy::bindings::remembered",
        type_section_suffix: "remembered",
        runtime_path: "::gauntlet_policy::wit_bindgen::rt",
    });
}

/// World `scoped-policy`: says what the policy judges.
pub mod scoped {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "scoped-policy",
        pub_export_macro: true,
        export_macro_name: "export_scoped_policy",
        default_bindings_module: "gauntlet_policy::bindings::scoped",
        type_section_suffix: "scoped",
        runtime_path: "::gauntlet_policy::wit_bindgen::rt",
    });
}

/// World `packed-relabel`: takes labels in one piece.
pub mod packed {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "packed-relabel",
        with: {
            "gauntlet:policy/types@1.0.0": crate::bindings::tenant::gauntlet::policy::types,
        },
        pub_export_macro: true,
        export_macro_name: "export_packed_relabel",
        default_bindings_module: "gauntlet_policy::bindings::packed",
        type_section_suffix: "packed",
        runtime_path: "::gauntlet_policy::wit_bindgen::rt",
    });
}
