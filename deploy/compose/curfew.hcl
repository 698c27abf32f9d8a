# One file for all programs of docker-compose.yml; each takes what it needs.
# CURFEW_NAME tells them apart.
data_dir  = "/var/lib/curfew/data"
key_file  = "/var/lib/curfew/seal/seal.key"
auto_init = false # `curfew operator init` prints the root token, once

listener "tcp" {
  address     = "0.0.0.0:8200"
  tls_disable = true
}
monitor { address = "0.0.0.0:9200" }

store "postgres" {
  url           = "postgres://curfew@store:5432/curfew?sslmode=disable"
  password_file = "/run/secrets/store-password"
}
nats {
  servers       = ["nats://nats-1:4222", "nats://nats-2:4222", "nats://nats-3:4222"]
  user          = "curfew"
  password_file = "/run/secrets/nats-password"
  replicas      = 3
}
redis {
  addresses     = ["redis:6379"]
  password_file = "/run/secrets/redis-password"
}
audit {
  ledger_dir = "/var/lib/curfew/ledger"
  urls       = ["http://auditor-1:8200", "http://auditor-2:8200"]
}
