package config

import (
	"fmt"
	"path/filepath"
)

// logDir is where files of audit devices may be beside the data directory.
const logDir = "/var/log"

// Devices say where files of audit devices may be, by absolute paths.
type Devices struct {
	Below  []string
	Except []string // what the programs keep there for themselves
}

// Devices is what the configuration says of audit devices.
func (c *Config) Devices() (d Devices, err error) {
	d.Below = c.Audit.DeviceDirs
	if len(d.Below) == 0 {
		d.Below = []string{c.DataDir, logDir}
	}
	for _, name := range []string{"store", "nats", "audit", "root-token", "nats-subscriber"} {
		d.Except = append(d.Except, filepath.Join(c.DataDir, name))
	}
	for _, file := range []string{
		c.KeyFile, c.Audit.LedgerDir, c.Listener.CertFile, c.Listener.KeyFile, c.Store.PasswordFile, c.Store.MigratePasswordFile,
		c.NATS.PasswordFile, c.NATS.CredsFile, c.NATS.CAFile, c.NATS.CertFile, c.NATS.KeyFile, c.Redis.PasswordFile, c.Redis.CAFile, c.Audit.CAFile,
	} {
		if file != "" {
			d.Except = append(d.Except, file)
		}
	}
	for _, list := range []*[]string{&d.Below, &d.Except} {
		absolute := make([]string, len(*list))
		for i, path := range *list {
			if absolute[i], err = filepath.Abs(path); err != nil {
				return d, fmt.Errorf("directories of audit devices: %w", err)
			}
		}
		*list = absolute
	}
	return d, nil
}
