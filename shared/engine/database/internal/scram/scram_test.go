package scram_test

import (
	"bytes"
	"crypto/hmac"
	crand "crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/engine/database/internal/scram"
)

func unbase64(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func verifier(t interface{ Fatal(...any) }, password string, salt []byte, iterations int) string {
	v, err := scram.Verifier(password, salt, iterations)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// The exchange of RFC 7677 section 3 must work with our verifier: the client's
// proof there gives our stored key, our server key the signature there.
func TestVerifierFitsTheExchangeOfRFC7677(t *testing.T) {
	t.Parallel()
	const authMessage = "n=user,r=rOprNGfwEbeRWgbNEkqO," +
		"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096," +
		"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	proof := unbase64(t, "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
	signature := unbase64(t, "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")

	s, err := scram.Parse(verifier(t, "pencil", unbase64(t, "W22ZaJ0SNY7soEsUEjb6gQ=="), 4096))
	if err != nil {
		t.Fatal(err)
	}
	clientKey := mac(s.StoredKey, authMessage)
	for i := range clientKey {
		clientKey[i] ^= proof[i]
	}
	if got := sha256.Sum256(clientKey); !bytes.Equal(got[:], s.StoredKey) {
		t.Error("the proof does not fit the stored key")
	}
	if !bytes.Equal(mac(s.ServerKey, authMessage), signature) {
		t.Error("the server key does not give the signature")
	}
}

func mac(key []byte, message string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(message))
	return h.Sum(nil)
}

func TestVerifierNotation(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		password, salt string
		iterations     int
		want           string
	}{
		{"pencil", "W22ZaJ0SNY7soEsUEjb6gQ==", 4096, "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="},
		{"A1a-0123456789abcdefghij", "AAECAwQFBgcICQoLDA0ODw==", 1, "SCRAM-SHA-256$1:AAECAwQFBgcICQoLDA0ODw==$F4YaVBfqZ565n5uj62TGxegrdZms9QYJ9J0ctmwSsxk=:oQ7RmHCY/y8TY/slHd7HAomRGKBj4TCd5j0WRpjqUcQ="},
		{"p'a\\ss \"w$$d~", "/////////////////////w==", 10000, "SCRAM-SHA-256$10000://///////////////////w==$wfJ7OkxhQsu5wbPk9FUqjt5EogVHHenv2Uevl7K54t4=:gQJUDdDTuBVXaaJvmXcVutzWEn7F3i8XETPid2sl5lM="},
	} {
		if got := verifier(t, tc.password, unbase64(t, tc.salt), tc.iterations); got != tc.want {
			t.Errorf("%q with %d iterations:\n got %s\nwant %s", tc.password, tc.iterations, got, tc.want)
		}
	}
}

func TestVerifierRefuses(t *testing.T) {
	t.Parallel()
	salt := make([]byte, 16)
	for name, tc := range map[string]struct {
		password   string
		salt       []byte
		iterations int
		want       string
	}{
		"empty password":     {"", salt, 4096, "empty"},
		"password of UTF-8":  {"hunter2é", salt, 4096, "printable ASCII"},
		"control character":  {"hunter2\n", salt, 4096, "printable ASCII"},
		"delete":             {"hunter2\x7f", salt, 4096, "printable ASCII"},
		"short salt":         {"hunter2", salt[:15], 4096, "15 bytes"},
		"no iterations":      {"hunter2", salt, 0, "0 iterations"},
		"too many to stores": {"hunter2", salt, math.MaxInt32 + 1, "2147483648 iterations"},
	} {
		v, err := scram.Verifier(tc.password, tc.salt, tc.iterations)
		if v != "" || err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %q, %v, want an error with %q", name, v, err, tc.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error repeats the password", name)
		}
	}
}

// Both keys have to fit: a verifier whose server key is another's is a server
// that cannot prove itself.
func TestVerifyComparesBothKeys(t *testing.T) {
	t.Parallel()
	salt := make([]byte, 16)
	one, other := verifier(t, "pencil", salt, 1), verifier(t, "crayon", salt, 1)
	border := strings.LastIndex(one, ":")
	for _, mixed := range []string{one[:border] + other[border:], other[:border] + one[border:]} {
		if ok, err := scram.Verify("pencil", mixed); ok || err != nil {
			t.Errorf("a verifier with one key of another password: %v, %v", ok, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	good := verifier(t, "pencil", unbase64(t, "W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
	if _, err := scram.Parse(good); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"", "pencil", "md5c1e2d3", "scram-sha-256" + good[13:], good + "$", good[:len(good)-1], good + "=", " " + good, good + "\n",
		strings.Replace(good, "4096", "0", 1), strings.Replace(good, "4096", "-1", 1), strings.Replace(good, "4096", "+4096", 1),
		strings.Replace(good, "4096", "04096", 1), strings.Replace(good, "4096", "", 1), strings.Replace(good, "4096", "4294967296", 1),
		strings.Replace(good, "4096:", "4096", 1), strings.Replace(good, "W22Z", "W22", 1), strings.Replace(good, "W22Z", "W2\n2Z", 1),
		strings.Replace(good, "W22ZaJ0SNY7soEsUEjb6gQ==", "", 1), strings.Replace(good, "==", "", 1),
		good[:strings.LastIndex(good, ":")], good[:strings.LastIndex(good, ":")+1],
	} {
		s, err := scram.Parse(bad)
		if err == nil || s.Salt != nil {
			t.Errorf("%q is taken for a verifier", bad)
			continue
		}
		if strings.Contains(err.Error(), "pencil") || strings.Contains(err.Error(), "W22") {
			t.Errorf("the error repeats its input: %v", err)
		}
	}
}

func TestVerifierLaws(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		password := rapid.StringOfN(rapid.RuneFrom(printable()), 1, 60, -1).Draw(t, "password")
		salt := rapid.SliceOfN(rapid.Byte(), 16, 40).Draw(t, "salt")
		iterations := rapid.IntRange(1, 50).Draw(t, "iterations")
		v := verifier(t, password, salt, iterations)

		s, err := scram.Parse(v)
		if err != nil || s.Iterations != iterations || !bytes.Equal(s.Salt, salt) {
			t.Fatalf("parse: %v", err)
		}
		if ok, err := scram.Verify(password, v); !ok || err != nil {
			t.Fatalf("own password: %v, %v", ok, err)
		}
		other := rapid.String().Filter(func(s string) bool { return s != password }).Draw(t, "other")
		if ok, err := scram.Verify(other, v); ok || err != nil {
			t.Fatalf("other password: %v, %v", ok, err)
		}
	})
}

func printable() []rune {
	var all []rune
	for r := ' '; r <= '~'; r++ {
		all = append(all, r)
	}
	return all
}

func TestSecretHidesItself(t *testing.T) {
	t.Parallel()
	v := verifier(t, "pencil", unbase64(t, "W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
	s, err := scram.Parse(v)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if got := fmt.Sprintf(verb, s); got != "SCRAM-SHA-256 secret" {
			t.Errorf("%s prints %s", verb, got)
		}
	}
	if out, err := json.Marshal(&s); err != nil || string(out) != `"SCRAM-SHA-256 secret"` {
		t.Errorf("JSON is %s, %v", out, err)
	}
}

func TestPasswordShape(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		length := rapid.IntRange(scram.MinLength, scram.MaxLength).Draw(t, "length")
		source := rand.NewChaCha8([32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "seed")))
		p, err := scram.Password(source, length)
		if err != nil {
			t.Fatal(err)
		}
		if len(p) != length || !strings.ContainsAny(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") || !strings.ContainsAny(p, "abcdefghijklmnopqrstuvwxyz") ||
			!strings.ContainsAny(p, "0123456789") || !strings.Contains(p, "-") || strings.HasPrefix(p, "-") || strings.HasSuffix(p, "-") {
			t.Fatalf("%q has not the shape", p)
		}
		if strings.Trim(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			t.Fatalf("%q holds another symbol", p)
		}
	})
}

// MinLength must be exactly where 128 bits begin: the passwords of the shape
// are counted by inclusion and exclusion over the classes that are missing.
func TestEntropy(t *testing.T) {
	t.Parallel()
	bits := func(length int) float64 {
		count := new(big.Int)
		classes := []int64{26, 26, 10, 1} // the last is the hyphen
		for missing := range 1 << len(classes) {
			inner, sign := int64(63), int64(1)
			for i, size := range classes {
				if missing&(1<<i) != 0 {
					inner, sign = inner-size, -sign
				}
			}
			ends := inner // first and last symbol are no hyphen
			if missing&8 == 0 {
				ends--
			}
			term := new(big.Int).Exp(big.NewInt(inner), big.NewInt(int64(length-2)), nil)
			term.Mul(term, big.NewInt(ends*ends*sign))
			count.Add(count, term)
		}
		f, _ := new(big.Float).SetInt(count).Float64()
		return math.Log2(f)
	}
	if got := bits(scram.MinLength); got < 128 {
		t.Errorf("the shortest password has %.1f bits", got)
	}
	if got := bits(scram.MinLength - 1); got >= 128 {
		t.Errorf("a password one shorter already has %.1f bits", got)
	}
	if got := bits(scram.DefaultLength); got < 141 {
		t.Errorf("the default password has %.1f bits", got)
	}
}

// Between the ends every symbol but the hyphen, which the shape favours, is
// equally likely: a chi-squared test over a fixed stream, so that the outcome
// is the same at every run.
func TestPasswordIsUnbiased(t *testing.T) {
	t.Parallel()
	source := rand.NewChaCha8([32]byte{1})
	counts := map[rune]float64{}
	var total float64
	for range 4000 {
		p, err := scram.Password(source, scram.MaxLength)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range p[1 : len(p)-1] {
			if c != '-' {
				counts[c]++
				total++
			}
		}
	}
	var chi float64
	for _, n := range counts {
		d := n - total/62
		chi += d * d / (total / 62)
	}
	// 61 degrees of freedom: 114 is exceeded with probability 10^-4.
	if len(counts) != 62 || chi > 114 {
		t.Errorf("%d symbols, chi squared %.0f", len(counts), chi)
	}
}

func TestPasswordsDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		p, err := scram.Password(crand.Reader, scram.DefaultLength)
		if err != nil {
			t.Fatal(err)
		}
		if seen[p] {
			t.Fatal("the same password twice")
		}
		seen[p] = true
	}
}

type endless byte

func (e endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(e)
	}
	return len(p), nil
}

func TestPasswordRefuses(t *testing.T) {
	t.Parallel()
	broken := errors.New("no entropy")
	for name, tc := range map[string]struct {
		source interface{ Read([]byte) (int, error) }
		length int
		want   string
	}{
		"too short":             {crand.Reader, 21, "a length of 21"},
		"too long":              {crand.Reader, 257, "a length of 257"},
		"broken source":         {iotest.ErrReader(broken), 24, "no entropy"},
		"source that ends":      {strings.NewReader("abc"), 24, "unexpected EOF"},
		"source stuck at 0":     {endless(0), 24, "does not look random"},
		"source stuck at 63":    {endless(63), 24, "does not look random"},
		"nothing after the cut": {iotest.TimeoutReader(endless(0)), 24, "timeout"},
	} {
		p, err := scram.Password(tc.source, tc.length)
		if p != "" || err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %q, %v, want an error with %q", name, p, err, tc.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=")
	f.Add("SCRAM-SHA-256$:$:")
	f.Fuzz(func(t *testing.T, v string) {
		s, err := scram.Parse(v)
		if err != nil {
			return
		}
		enc := base64.StdEncoding
		again := fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", s.Iterations, enc.EncodeToString(s.Salt), enc.EncodeToString(s.StoredKey), enc.EncodeToString(s.ServerKey))
		if again != v {
			t.Fatalf("%q is read as %q", v, again)
		}
	})
}

func BenchmarkVerifier(b *testing.B) {
	salt := make([]byte, 16)
	for b.Loop() {
		if _, err := scram.Verifier("pencil", salt, scram.DefaultIterations); err != nil {
			b.Fatal(err)
		}
	}
}
