package gauntlet

import (
	"fmt"
	"runtime/debug"
)

var (
	makePolicy func(settings string, context Context) (Policy, error)
	relabeller Relabeller
	admitter   Admitter
	// The series that is being judged, for whoever reads about a panic.
	judged *Series
)

// Export says what makes the policy from its settings, a JSON text. Its error is shown to the operator, and the settings are
// not taken into use: what can never work should be one.
func Export(make func(settings string, context Context) (Policy, error)) { makePolicy = make }

func configured(settings string, context Context) (err error) {
	defer caught(&err)
	policy, err := makePolicy(settings, context)
	if err != nil {
		return err
	}
	relabeller, _ = policy.(Relabeller)
	admitter, _ = policy.(Admitter)
	return nil
}

// judge leaves what becomes of a series in it.
func judge(series *Series) {
	judged = series
	// A policy that only admits keeps every series.
	if relabeller != nil {
		relabeller.Relabel(series)
	}
}

func decided(write *Write) (decision Decision, err error) {
	defer caught(&err)
	if admitter == nil {
		return Decision{}, nil
	}
	return admitter.Admit(write), nil
}

func inputs() Inputs {
	if admitter == nil {
		return 0
	}
	return admitter.Inputs()
}

// A panic is answered as an error that has its text and the series; where it was goes to the log.
func caught(err *error) {
	if reason := recover(); reason != nil {
		*err = fmt.Errorf("panic: %v", reason)
		if judged != nil {
			*err = fmt.Errorf("%w, judging %v", *err, judged)
		}
		Error((*err).Error() + "\n" + string(debug.Stack()))
	}
	judged = nil
}
