package store_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// Law: a body is read as encoding/json reads it, whatever stands in its fields.
func TestDecode(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		asStandard(t, anything[lease.Lease](t), store.DecodeLease)
		asStandard(t, anything[event.Event](t), store.DecodeEvent)
	})
}

// A body that is damaged is refused, wherever it ends.
func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	body, err := json.Marshal(lease.Lease{ID: "a/é\"\u2028", Plan: []byte("plan"), IssuedAt: time.Unix(1, 2).UTC(), Revocation: lease.Revocation{Parked: true}})
	if err != nil {
		t.Fatal(err)
	}
	for n := range body {
		if l, err := store.DecodeLease(string(body[:n])); err == nil {
			t.Errorf("%s is %+v", body[:n], l)
		}
	}
	for _, damage := range []string{"{", "}", "\x00", ","} {
		for n := range len(body) - 1 {
			if one := string(body[:n]) + damage + string(body[n+1:]); json.Unmarshal([]byte(one), new(lease.Lease)) != nil {
				if l, err := store.DecodeLease(one); err == nil {
					t.Errorf("%s is %+v", one, l)
				}
			}
		}
	}
}

func asStandard[T any](t *rapid.T, value T, decode func(string) (T, error)) {
	body, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var want T
	if err := json.Unmarshal(body, &want); err != nil {
		t.Fatal(err)
	}
	got, err := decode(strings.Clone(string(body)))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%s\nis read as %+v (%v),\nnot as %+v", body, got, err, want)
	}
}

// anything fills each field with a value that it can have.
func anything[T any](t *rapid.T) (v T) {
	fill(t, reflect.ValueOf(&v).Elem())
	return v
}

func fill(t *rapid.T, v reflect.Value) {
	if rapid.IntRange(0, 3).Draw(t, "unset") == 0 {
		return
	}
	switch at := v.Addr().Interface().(type) {
	case *time.Time:
		zone := time.FixedZone("", rapid.SampledFrom([]int{0, 0, 7200, -12600}).Draw(t, "zone"))
		*at = time.Unix(rapid.Int64Range(-1e9, 1e11).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).In(zone)
		return
	case *[]byte:
		*at = rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
		return
	}
	switch v.Kind() { //nolint:exhaustive // another kind fails the test
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), rapid.IntRange(0, 3).Draw(t, "n"), 3))
		for i := range v.Len() {
			fill(t, v.Index(i))
		}
	case reflect.String:
		v.SetString(rapid.String().Draw(t, "text"))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8:
		v.SetUint(uint64(rapid.Uint8().Draw(t, "number")))
	case reflect.Int, reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, "number"))
	default:
		t.Fatalf("a field is a %s", v.Kind())
	}
}
