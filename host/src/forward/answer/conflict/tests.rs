//! What receivers say, word for word, and what is made of it.

use super::*;

fn read(status: u16, text: &str) -> Conflict {
    Conflict::read(status, text.as_bytes()).unwrap_or_else(|| panic!("{status} {text}"))
}

/// Stored, refused by class, unknown, of 10 samples.
fn of_ten(status: u16, text: &str) -> (u64, Vec<(ConflictClass, u64)>, u64) {
    let Amounts {
        stored,
        refused,
        unknown,
    } = read(status, text).amounts(10);
    (stored, refused, unknown)
}

#[test]
fn counts_of_one_receiver_are_believed() {
    for (text, stored, refused) in [
        ("add 3 samples: out of order sample\n", 7, vec![(OutOfOrder, 3)]),
        ("add 10 samples: too old sample\n", 0, vec![(TooOld, 10)]),
        (
            "2 errors: add 1 samples: out of bounds; add 3 samples: duplicate sample for timestamp\n",
            6,
            vec![(OutOfBounds, 1), (Duplicate, 3)],
        ),
        // Thanos 0.42.4, alone, and where it answers for itself and for another.
        (
            "forwarding request to endpoint addr: , capnp_addr: , az: : writing locally: 3 errors: add 1 exemplars: out of order \
             exemplar; add 1 samples: out of bounds; add 2 samples: out of order sample\n",
            7,
            vec![(OutOfBounds, 1), (OutOfOrder, 2)],
        ),
        (
            "forwarding request to endpoint addr: r-0:10901, capnp_addr: r-0:19391, az: : add 2 samples: out of order sample\n",
            8,
            vec![(OutOfOrder, 2)],
        ),
        (
            "forwarding request to endpoint addr: r-0:10901, capnp_addr: r-0:19391, az: : rpc error: code = AlreadyExists \
             desc = 2 errors: add 1 exemplars: out of order exemplar; add 2 samples: too old sample\n",
            8,
            vec![(TooOld, 2)],
        ),
        // Thanos 0.31 and 0.32.
        (
            "forwarding request to endpoint r-0:10901: rpc error: code = AlreadyExists desc = store locally for endpoint \
             r-0:10901: add 1 samples: out of order sample\n",
            9,
            vec![(OutOfOrder, 1)],
        ),
    ] {
        assert_eq!(of_ten(409, text), (stored, refused, 0), "{text}");
        let conflict = read(409, text);
        assert_eq!(conflict.how_many(), HowMany::Counted, "{text}");
    }
}

#[test]
fn counts_of_several_receivers_are_a_bound() {
    let two = "2 errors: forwarding request to endpoint r-0:10901: add 2 samples: out of order sample; forwarding request to \
               endpoint r-1:10901: add 3 samples: out of order sample\n";
    assert_eq!(of_ten(409, two), (5, vec![], 5));
    assert_eq!(read(409, two).class(), OutOfOrder);
    // The sender is told no number that may be wrong.
    assert_eq!(read(409, two).phrases(), "out of order sample");
    let one_twice = "2 errors: forwarding request to endpoint r-0:10901: add 2 samples: out of order sample; forwarding \
                     request to endpoint r-0:10901: add 12 samples: out of order sample\n";
    assert_eq!(of_ten(409, one_twice), (0, vec![], 10));
}

#[test]
fn where_exemplars_alone_were_refused_every_sample_is_stored() {
    for text in [
        "add 4 exemplars: out of order exemplar\n",
        "2 errors: add 4 exemplars: out of order exemplar; add 1 exemplars: duplicate exemplar\n",
        "add 1 exemplars: label length for exemplar exceeds maximum of 128 UTF-8 characters\n",
        "2 errors: forwarding request to endpoint r-0:10901: add 4 exemplars: out of order exemplar; forwarding request to \
         endpoint r-1:10901: rpc error: code = AlreadyExists desc = add 4 exemplars: out of order exemplar\n",
    ] {
        assert_eq!(read(409, text).how_many(), HowMany::Exemplars, "{text}");
        assert_eq!(of_ten(409, text), (10, vec![], 0), "{text}");
        assert!(read(409, text).exemplars() > 0);
    }
}

#[test]
fn a_text_that_says_anything_else_besides_exemplars_is_not_of_exemplars_alone() {
    for text in [
        // It broke off, or was cut, who knows before what.
        "2 errors: add 4 exemplars: out of order exemplar",
        "2 errors: add 4 exemplars: out of order exemplar; add 3 sam",
        "2 errors: add 4 exemplars: out of order exemplar; commit samples: no space left on device\n",
        "2 errors: add 4 exemplars: out of order exemplar; forwarding request to endpoint r-1:10901: rpc error: code = \
         Unavailable desc = target not available\n",
        "2 errors: add 4 exemplars: out of order exemplar; add 1 series: out of order labels\n",
        "add 4 exemplars: out of order sample and something new\n",
        "out of order exemplar\n",
        // Mimir names the first error, whatever comes behind it.
        "failed pushing to ingester i-0: user=a: the exemplar has been rejected (err-mimir-exemplar-series-missing)\n",
    ] {
        assert_eq!(read(409, text).how_many(), HowMany::Unknown, "{text}");
        assert_eq!(of_ten(409, text), (0, vec![], 10), "{text}");
    }
}

#[test]
fn more_than_was_sent_is_no_count() {
    assert_eq!(of_ten(409, "add 11 samples: out of order sample\n"), (0, vec![], 10));
    let too_long = "add 99999999999999999999 samples: out of order sample\n";
    assert_eq!(of_ten(409, too_long), (0, vec![], 10));
    let twice =
        "2 errors: add 18446744073709551615 samples: out of bounds; add 18446744073709551615 samples: too old sample\n";
    assert_eq!(of_ten(409, twice), (0, vec![], 10));
}

#[test]
fn prometheus_stores_nothing_of_a_write_of_which_it_refuses_a_sample() {
    for (text, class) in [
        ("out of order sample\n", OutOfOrder),
        ("out of bounds\n", OutOfBounds),
        ("out of bounds: timestamp is too far in the future\n", TooFarAhead),
        ("too old sample\n", TooOld),
        (
            "duplicate sample for timestamp 1700000000000; overrides not allowed: existing 17, new value 18\n",
            Duplicate,
        ),
    ] {
        assert_eq!(of_ten(400, text), (0, vec![(class, 10)], 0), "{text}");
        let conflict = read(400, text);
        assert_eq!(
            (conflict.how_many(), conflict.class()),
            (HowMany::Whole, class),
            "{text}"
        );
        assert!(!conflict.to_string().contains("17,"), "{conflict}");
    }
    // Of 2.0 it stores the rest.
    let of_2_0 = "out of order sample for series {__name__=\"up\"}\n";
    assert_eq!(read(400, of_2_0).how_many(), HowMany::Unknown);
}

#[test]
fn mimir_is_read_by_its_ids_and_never_says_how_many() {
    for (id, class) in [
        ("sample-out-of-order", OutOfOrder),
        ("sample-duplicate-timestamp", Duplicate),
        ("sample-timestamp-too-old", TooOld),
        ("too-far-in-past", TooOld),
        ("too-far-in-future", TooFarAhead),
        ("exemplar-too-far-in-future", Exemplars),
        ("exemplar-labels-too-long", Exemplars),
        ("label-invalid", Labels),
        ("max-series-per-user", Limit),
        ("max-label-names-per-series", Limit),
        ("tenant-max-ingestion-rate", Limit),
    ] {
        let text = format!(
            "failed pushing to ingester mimir-0: user=a: said (err-mimir-{id}). The affected sample has timestamp 2024 and \
             is from series {{secret=\"x\"}}\n"
        );
        let conflict = read(400, &text);
        assert_eq!(
            (conflict.class(), conflict.how_many()),
            (class, HowMany::Unknown),
            "{id}"
        );
        assert!(
            format!("err-mimir-{id}").starts_with(&conflict.phrases()),
            "{}",
            conflict.phrases()
        );
        assert!(!conflict.to_string().contains("secret"), "{conflict}");
    }
}

#[test]
fn thanos_limits_refuse_the_whole_write() {
    for text in [
        "write request too large\n",
        "too many timeseries\n",
        "too many samples\n",
    ] {
        assert_eq!(of_ten(413, text), (0, vec![(Limit, 10)], 0), "{text}");
    }
}

#[test]
fn a_400_that_nobody_knows_is_no_conflict_and_a_409_always_is_one() {
    for text in [
        "snappy decode error\n",
        "",
        "cannot unmarshal prompb.WriteRequest with size 7 bytes\n",
        "received a series that is too large (err-mimir-distributor-max-write-message-size)\n",
    ] {
        assert_eq!(Conflict::read(400, text.as_bytes()), None, "{text}");
        let conflict = read(409, text);
        assert_eq!(
            (conflict.class(), conflict.how_many(), conflict.phrases()),
            (ConflictClass::Other, HowMany::Unknown, String::new())
        );
    }
}

#[test]
fn a_sender_hears_phrases_and_counts_and_never_what_else_a_receiver_says() {
    let secrets = [
        "10.1.2.3",
        "r-0",
        "thanos",
        "secret",
        "endpoint",
        "rpc error",
        "user=",
        "{",
    ];
    for (status, text, told) in [
        (
            409,
            "2 errors: forwarding request to endpoint r-0.thanos:10901: rpc error: code = AlreadyExists desc = add 1 samples: \
             out of bounds; add 3 samples: out of order sample\n",
            "1 samples: out of bounds, 3 samples: out of order sample",
        ),
        (
            409,
            "add 3 samples: out of order sample; dial tcp 10.1.2.3:80: add 4 secret: out of order sample\n",
            "3 samples: out of order sample, out of order sample",
        ),
        (
            400,
            "out of order sample for series {a=\"secret\"}\n",
            "out of order sample",
        ),
        (
            400,
            "failed pushing to ingester 10.1.2.3: user=secret: (err-mimir-exemplar-labels-missing)\n",
            "err-mimir-exemplar",
        ),
        (409, "host 10.1.2.3 says /var/thanos is full\n", ""),
    ] {
        let phrases = read(status, text).phrases();
        assert_eq!(phrases, told);
        assert!(!secrets.iter().any(|secret| phrases.contains(secret)), "{phrases}");
    }
}

#[test]
fn however_much_a_receiver_says_what_is_kept_of_it_is_bounded() {
    let text = "add 1 samples: out of order sample; err-mimir-x; too old sample; ".repeat(10_000);
    let conflict = read(409, &text);
    assert!(conflict.told.len() <= PHRASES.len() * 4, "{}", conflict.told.len());
    assert!(conflict.words.len() <= words::MOST + 16 && conflict.phrases().len() < 1024);
}

#[test]
fn a_second_time_is_known_by_the_number_of_samples_that_are_not_their_series_newest() {
    let sent = |series, samples| Totals {
        series,
        samples,
        ..Totals::default()
    };
    let again = |text, series, samples| read(409, text).is_of_a_second_time(&sent(series, samples));
    // Two series with three samples each.
    let four = "add 4 samples: out of order sample\n";
    assert!(again(four, 2, 6));
    assert!(again(
        "2 errors: add 1 samples: out of bounds; add 3 samples: too old sample\n",
        2,
        6
    ));
    assert!(again(
        "2 errors: add 1 exemplars: out of order exemplar; add 4 samples: out of order sample\n",
        2,
        6
    ));
    // Somebody wrote to a series since, or less was stored.
    assert!(!again("add 5 samples: out of order sample\n", 2, 6));
    assert!(!again("add 3 samples: out of order sample\n", 2, 6));
    assert!(!again("add 6 samples: out of order sample\n", 2, 6));
    // A series' newest sample is taken again without a word.
    assert!(!again("add 1 samples: out of order sample\n", 1, 1));
    // Another value is no second time, nor is a text without numbers.
    assert!(!again("add 4 samples: duplicate sample for timestamp\n", 2, 6));
    assert!(!again("out of order sample\n", 2, 6));
    assert!(!again(four, 7, 6));
}
