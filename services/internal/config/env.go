package config

import (
	"fmt"
	"strconv"

	"github.com/curfew-project/curfew/shared/secret"
)

// Environ applies environment variables to c: CURFEW_<KEY> for the top-level
// keys and the listener's address. lookup is os.LookupEnv, or a test's.
func (c *Config) Environ(lookup func(string) (string, bool)) error {
	texts := map[string]*string{
		"CURFEW_NAME":            &c.Name,
		"CURFEW_STORE_URL":       &c.Store.URL,
		"CURFEW_DATA_DIR":        &c.DataDir,
		"CURFEW_KEY_FILE":        &c.KeyFile,
		"CURFEW_LISTEN_ADDRESS":  &c.Listener.Address,
		"CURFEW_MONITOR_ADDRESS": &c.Monitor.Address,
		"CURFEW_NATS_LISTEN":     &c.NATS.Listen,
		"CURFEW_LOG_LEVEL":       &c.Log.Level,
		"CURFEW_LOG_FORMAT":      &c.Log.Format,
	}
	for name, to := range texts {
		if v, ok := lookup(name); ok {
			*to = v
		}
	}
	if v, ok := lookup("CURFEW_MASTER_KEY"); ok {
		c.MasterKey = secret.New(v)
	}
	if v, ok := lookup("CURFEW_AUTO_INIT"); ok {
		b, err := strconv.ParseBool(v)
		if err != nil {
			return fmt.Errorf("CURFEW_AUTO_INIT is not true or false: %q", v)
		}
		c.AutoInit = b
	}
	return nil
}
