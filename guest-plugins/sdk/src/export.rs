//! The macros that make a policy a plugin.
//!
//! Takes a type; gives the exports of one world. Never answers a call before `configure` has succeeded.
//!
//! None of them sets an allocator: a plugin has Rust's standard one unless its author sets another as its
//! `#[global_allocator]`, which may be the SDK's `FreeLists`.

/// Exports a type that is [`Relabel`](crate::Relabel) as a plugin of world `relabel-policy`.
#[macro_export]
macro_rules! relabel_policy {
    ($policy:ty) => {
        const _: () = {
            $crate::__configured!($policy);

            impl $crate::bindings::relabel::Guest for Exported {
                fn configure(settings: String, context: $crate::Context) -> Result<(), String> {
                    Exported::configure(&settings, &context)
                }
                fn relabel(series: Vec<Vec<$crate::Label>>) -> Result<Vec<$crate::Verdict>, String> {
                    Exported::relabel(series)
                }
            }

            impl Exported {
                $crate::__relabel!();
            }

            $crate::bindings::relabel::export_relabel_policy!(
                Exported with_types_in $crate::bindings::relabel
            );
            $crate::__packed!();
            $crate::__judges!(Relabel::judges_series => SERIES);
        };
    };
}

/// Exports a type that is [`Admit`](crate::Admit) as a plugin of world `admission-policy`.
#[macro_export]
macro_rules! admission_policy {
    ($policy:ty) => {
        const _: () = {
            $crate::__configured!($policy);

            impl $crate::bindings::admission::Guest for Exported {
                fn configure(settings: String, context: $crate::Context) -> Result<(), String> {
                    Exported::configure(&settings, &context)
                }
                fn admit(write: $crate::Write) -> Result<$crate::Decision, String> {
                    Exported::admit(&write)
                }
            }

            impl Exported {
                $crate::__admit!();
            }

            $crate::bindings::admission::export_admission_policy!(
                Exported with_types_in $crate::bindings::admission
            );
            $crate::__inputs!();
            $crate::__judges!(Admit::judges_writes => WRITES);
        };
    };
}

/// Exports a type that is both [`Relabel`](crate::Relabel) and [`Admit`](crate::Admit) as a plugin of world
/// `tenant-policy`.
#[macro_export]
macro_rules! tenant_policy {
    ($policy:ty) => {
        const _: () = {
            $crate::__configured!($policy);

            impl $crate::bindings::tenant::Guest for Exported {
                fn configure(settings: String, context: $crate::Context) -> Result<(), String> {
                    Exported::configure(&settings, &context)
                }
                fn relabel(series: Vec<Vec<$crate::Label>>) -> Result<Vec<$crate::Verdict>, String> {
                    Exported::relabel(series)
                }
                fn admit(write: $crate::Write) -> Result<$crate::Decision, String> {
                    Exported::admit(&write)
                }
            }

            impl Exported {
                $crate::__relabel!();
                $crate::__admit!();
            }

            $crate::bindings::tenant::export_tenant_policy!(
                Exported with_types_in $crate::bindings::tenant
            );
            $crate::__packed!();
            $crate::__inputs!();
            $crate::__judges!(Relabel::judges_series => SERIES, Admit::judges_writes => WRITES);
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __configured {
    ($policy:ty) => {
        struct Exported;

        ::std::thread_local! {
            static POLICY: ::std::cell::RefCell<Option<$policy>> = const { ::std::cell::RefCell::new(None) };
        }

        impl Exported {
            fn configure(settings: &str, context: &$crate::Context) -> Result<(), String> {
                #[cfg(target_arch = "wasm32")]
                $crate::panics::tell();
                let policy = <$policy as $crate::Policy>::configure(settings, context)?;
                POLICY.with(|slot| slot.replace(Some(policy)));
                Ok(())
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __relabel {
    () => {
        fn relabel(series: Vec<Vec<$crate::Label>>) -> Result<Vec<$crate::Verdict>, String> {
            POLICY.with(|slot| match &*slot.borrow() {
                None => Err(String::from("relabel was called before configure")),
                Some(policy) => Ok(series
                    .into_iter()
                    .map(|labels| {
                        let mut series = $crate::Series::new(labels);
                        let fate = $crate::panics::judge(policy, &mut series);
                        series.judge(fate)
                    })
                    .collect()),
            })
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __admit {
    () => {
        fn admit(write: &$crate::Write) -> Result<$crate::Decision, String> {
            POLICY.with(|slot| match &*slot.borrow() {
                None => Err(String::from("admit was called before configure")),
                Some(policy) => Ok($crate::Admit::admit(policy, write)),
            })
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __inputs {
    () => {
        impl $crate::bindings::remembered::Guest for Exported {
            fn admission_inputs() -> $crate::Inputs {
                POLICY.with(|slot| match &*slot.borrow() {
                    None => $crate::Inputs::all(),
                    Some(policy) => $crate::Admit::inputs(policy),
                })
            }
        }

        $crate::bindings::remembered::export_remembered_admission!(
            Exported with_types_in $crate::bindings::remembered
        );
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __judges {
    ($($decides:ident :: $about:ident => $what:ident),+) => {
        impl $crate::bindings::scoped::Guest for Exported {
            fn judges() -> $crate::Scope {
                POLICY.with(|slot| match &*slot.borrow() {
                    None => $crate::Scope::all(),
                    Some(policy) => {
                        let mut scope = $crate::Scope::empty();
                        $(scope.set($crate::Scope::$what, $crate::$decides::$about(policy));)+
                        scope
                    }
                })
            }
        }

        $crate::bindings::scoped::export_scoped_policy!(
            Exported with_types_in $crate::bindings::scoped
        );
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __packed {
    () => {
        impl $crate::bindings::packed::Guest for Exported {
            fn relabel_packed(
                text: String,
                lengths: Vec<u32>,
                labels: Vec<u32>,
            ) -> Result<Vec<$crate::Verdict>, String> {
                POLICY.with(|slot| match &*slot.borrow() {
                    None => Err(String::from("relabel was called before configure")),
                    Some(policy) => $crate::judge_packed(&text, &lengths, &labels, |series| {
                        $crate::panics::judge(policy, series)
                    }),
                })
            }
        }

        $crate::bindings::packed::export_packed_relabel!(
            Exported with_types_in $crate::bindings::packed
        );
    };
}
