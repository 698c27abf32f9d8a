# One image with every program; the command says which one runs. Static, without
# a shell, as a user without rights.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY . .
RUN CGO_ENABLED=0 make build

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /src/bin/curfew /src/bin/curfew-issuer /src/bin/curfew-revoker /src/bin/curfew-auditor /usr/local/bin/
USER nonroot
ENTRYPOINT ["/usr/local/bin/curfew"]
