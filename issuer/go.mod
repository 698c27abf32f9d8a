module github.com/curfew-project/curfew/issuer

go 1.26.0

replace github.com/curfew-project/curfew/shared => ../shared

require (
	github.com/curfew-project/curfew/shared v0.0.0-00010101000000-000000000000
	github.com/hashicorp/hcl v1.0.1-vault-7
	github.com/rs/zerolog v1.35.1
	golang.org/x/time v0.16.0
	pgregory.net/rapid v1.3.0
)

require (
	github.com/mattn/go-colorable v0.1.15 // indirect
	github.com/mattn/go-isatty v0.0.24 // indirect
	github.com/segmentio/asm v1.1.3 // indirect
	github.com/segmentio/encoding v0.5.4 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
