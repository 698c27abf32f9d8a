package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"time"

	"github.com/rs/zerolog"
)

const (
	// MaxEntrySize is the largest entry in bytes: the length prefix of an
	// entry in a C2SP tlog-tiles bundle has 16 bits.
	MaxEntrySize = 1<<16 - 1

	// batchSize is the most entries that one durable write takes, and the
	// number of entries in a full bundle.
	batchSize = 256

	minCheckpointInterval = 100 * time.Millisecond
)

// Config says where a ledger lives and who signs it. Dir and Installation are
// required; every other zero value means its default.
type Config struct {
	// Dir is the ledger's directory. It is created when it is missing.
	Dir string
	// Installation is the id of this installation: 1 to 64 characters of
	// [a-z0-9-]. It is part of the origin of every checkpoint, so that
	// ledgers of two installations cannot be taken for one another.
	Installation string
	// KeyFile holds the Ed25519 key that signs checkpoints and manifest.
	// Default: <Dir>/checkpoint.key. It is generated (mode 0600) on the
	// first start; a ledger that already has a manifest never gets a new one.
	KeyFile string
	// CheckpointInterval is the pace of signed checkpoints while entries
	// arrive. An entry is under a checkpoint after twice this time at the
	// latest. Default 500 ms, minimum 100 ms.
	CheckpointInterval time.Duration
	// CollectInterval is the pace at which superseded partial files are
	// deleted (at most 100 bundles a time). Default 10 s.
	CollectInterval time.Duration
	// CloseTimeout bounds how long Close waits for the last checkpoint.
	// Default 10 s.
	CloseTimeout time.Duration
	// Log receives the ledger's and the transparency-log library's lines.
	// The zero value discards them.
	Log zerolog.Logger
}

var errConfig = errors.New("ledger configuration")

func (c Config) withDefaults() (Config, error) {
	if c.Dir == "" {
		return c, fmt.Errorf("%w: dir is empty", errConfig)
	}
	if !validInstallation(c.Installation) {
		return c, fmt.Errorf("%w: installation %q: want 1 to 64 characters of [a-z0-9-]", errConfig, c.Installation)
	}
	c.KeyFile = cmp.Or(c.KeyFile, filepath.Join(c.Dir, keyFileName))
	c.CheckpointInterval = cmp.Or(c.CheckpointInterval, 500*time.Millisecond)
	c.CollectInterval = cmp.Or(c.CollectInterval, 10*time.Second)
	c.CloseTimeout = cmp.Or(c.CloseTimeout, 10*time.Second)
	if c.CheckpointInterval < minCheckpointInterval {
		return c, fmt.Errorf("%w: checkpoint interval %v is below %v", errConfig, c.CheckpointInterval, minCheckpointInterval)
	}
	if c.CollectInterval < 0 || c.CloseTimeout < 0 {
		return c, fmt.Errorf("%w: negative interval", errConfig)
	}
	return c, nil
}

var installationPattern = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

func validInstallation(s string) bool { return installationPattern.MatchString(s) }
