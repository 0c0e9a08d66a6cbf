//go:build wasip1

package gauntlet

// The component model's canonical ABI by hand: what the contract's functions take and give, as it lies in memory. Addresses
// there have 32 bits, and Go's pointers 64, so they are `address` here, which the collector does not follow: see `held`.

import "unsafe"

//go:wasmimport gauntlet:policy/log@1.0.0 write
func logWrite(level int32, text unsafe.Pointer, length uint32)

func write(level int32, message string) {
	logWrite(level, unsafe.Pointer(unsafe.StringData(message)), uint32(len(message)))
}

type address = uint32

func pointer(at address) unsafe.Pointer { return unsafe.Pointer(uintptr(at)) }

// What the gateway handed over and what was answered, so that nothing of it is collected before the call is over.
var held []unsafe.Pointer

func hold(at unsafe.Pointer) address {
	held = append(held, at)
	return address(uintptr(at))
}

func alloc(size uint32) address {
	return hold(unsafe.Pointer(unsafe.SliceData(make([]uint64, size/8+1))))
}

//go:wasmexport cabi_realloc
func realloc(old address, oldSize, _, size uint32) address {
	at := alloc(size)
	if oldSize > 0 {
		copy(bytes(at, size), bytes(old, oldSize))
	}
	return at
}

func bytes(at address, size uint32) []byte { return unsafe.Slice((*byte)(pointer(at)), size) }

func release() {
	clear(held)
	held = held[:0]
	if cap(held) > 4096 {
		held = nil
	}
}

//go:wasmexport cabi_post_configure
func postConfigure(address) { release() }

//go:wasmexport cabi_post_relabel
func postRelabel(address) { release() }

//go:wasmexport cabi_post_relabel-packed
func postRelabelPacked(address) { release() }

//go:wasmexport cabi_post_admit
func postAdmit(address) { release() }

// What comes in. Text is copied once and whole, so that policies may keep pieces of it.

type text struct {
	at  address
	len uint32
}

func (t text) string() string { return string(bytes(t.at, t.len)) }

type list = text

func items[T any](l list) []T { return unsafe.Slice((*T)(pointer(l.at)), l.len) }

func texts(l list) []string {
	out := make([]string, l.len)
	for i, item := range items[text](l) {
		out[i] = item.string()
	}
	return out
}

type label struct{ name, value text }

type streamTotals struct {
	name                                   text
	series, samples, histograms, exemplars uint64
}

// What goes out.

type memory struct{ at address }

func newMemory(size uint32) memory { return memory{alloc(size)} }

func put[T any](m memory, offset uint32, value T) { *(*T)(pointer(m.at + offset)) = value }

func (m memory) from(offset uint32) memory { return memory{m.at + offset} }

// The bytes of a Go string are not copied: whoever calls holds the string.
func (m memory) text(offset uint32, value string) {
	put(m, offset, text{hold(unsafe.Pointer(unsafe.StringData(value))), uint32(len(value))})
}

func (m memory) list(offset, count, size uint32) memory {
	items := newMemory(count * size)
	put(m, offset, list{items.at, count})
	return items
}

func answer(err error) memory {
	m := newMemory(24)
	if err != nil {
		put(m, 0, uint8(1))
		m.text(4, err.Error())
	}
	return m
}

//go:wasmexport configure
func exportConfigure(settings address, settingsLen uint32, tenant address, tenantLen uint32, upstreams address, upstreamsLen uint32) address {
	context := Context{text{tenant, tenantLen}.string(), texts(list{upstreams, upstreamsLen})}
	return answer(configured(text{settings, settingsLen}.string(), context)).at
}

const (
	verdictSize = 56
	labelSize   = 16
)

func verdicts(count uint32, next func(*Series)) (m memory) {
	var err error
	defer func() {
		if err != nil {
			m = answer(err)
		}
	}()
	defer caught(&err)
	m = answer(nil)
	out := m.list(4, count, verdictSize)
	var series Series
	for i := range count {
		next(&series)
		judge(&series)
		out.from(i * verdictSize).verdict(&series)
	}
	return m
}

func (m memory) verdict(series *Series) {
	switch {
	case series.reason != nil:
		put(m, 0, uint8(1))
		m.text(8, *series.reason)
		return
	case !series.changed && series.stream == nil && series.budget == nil:
		return
	}
	put(m, 0, uint8(2))
	if series.changed {
		put(m, 8, uint8(1))
		labels := m.list(12, uint32(len(series.labels)), labelSize)
		for i, label := range series.labels {
			labels.text(uint32(i)*labelSize, label.Name)
			labels.text(uint32(i)*labelSize+8, label.Value)
		}
	}
	if series.stream != nil {
		put(m, 20, uint8(1))
		m.text(24, *series.stream)
	}
	if series.budget != nil {
		put(m, 32, uint8(1))
		m.text(40, series.budget.name)
		put(m, 48, series.budget.maxActiveSeries)
	}
}

//go:wasmexport relabel
func exportRelabel(series address, count uint32) address {
	all := items[list](list{series, count})
	return verdicts(count, func(series *Series) {
		*series = Series{labels: series.labels[:0]}
		for _, l := range items[label](all[0]) {
			series.labels = append(series.labels, Label{l.name.string(), l.value.string()})
		}
		all = all[1:]
	}).at
}

//go:wasmexport relabel-packed
func exportRelabelPacked(all address, size uint32, lengths address, lengthsLen uint32, counts address, countsLen uint32) address {
	rest, sizes := text{all, size}.string(), items[uint32](list{lengths, lengthsLen})
	labels := items[uint32](list{counts, countsLen})
	take := func() (piece string) {
		piece, rest, sizes = rest[:sizes[0]], rest[sizes[0]:], sizes[1:]
		return
	}
	return verdicts(countsLen, func(series *Series) {
		*series = Series{labels: series.labels[:0]}
		for range labels[0] {
			name := take()
			series.labels = append(series.labels, Label{name, take()})
		}
		labels = labels[1:]
	}).at
}

//go:wasmexport admission-inputs
func exportInputs() uint32 { return uint32(inputs()) }

const (
	chargeSize = 32
	routeSize  = 16
)

//go:wasmexport admit
func exportAdmit(tenant address, tenantLen uint32, subject address, subjectLen uint32, protocol address, protocolLen uint32, compressed, decoded, active, fresh uint64, streams address, streamsLen uint32) address {
	write := Write{
		Tenant: text{tenant, tenantLen}.string(), Subject: text{subject, subjectLen}.string(), Protocol: text{protocol, protocolLen}.string(),
		CompressedBytes: compressed, DecodedBytes: decoded, ActiveSeries: active, NewSeries: fresh,
	}
	for _, s := range items[streamTotals](list{streams, streamsLen}) {
		write.Streams = append(write.Streams, StreamTotals{s.name.string(), s.series, s.samples, s.histograms, s.exemplars})
	}
	decision, err := decided(&write)
	m := answer(err)
	switch {
	case err != nil:
	case decision.Rejected != "":
		put(m, 4, uint8(1))
		m.text(8, decision.Rejected)
	default:
		charges := m.list(8, uint32(len(decision.Charges)), chargeSize)
		for i, charge := range decision.Charges {
			one := charges.from(uint32(i) * chargeSize)
			one.text(0, charge.Bucket)
			put(one, 8, charge.Tokens)
			put(one, 16, charge.PerSecond)
			put(one, 24, charge.Burst)
		}
		routes := m.list(16, uint32(len(decision.Routes)), routeSize)
		for i, route := range decision.Routes {
			one := routes.from(uint32(i) * routeSize)
			one.text(0, route.Stream)
			one.text(8, route.Upstream)
		}
	}
	return m.at
}
