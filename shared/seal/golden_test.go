package seal_test

// Made once, by the first version, with the master key of 32 bytes of value 1.
const (
	goldenDerived = "c99fc8b8a89c9e1fb911fc6b3fe7e7abc031cfd302d4bbad9c7dfdbe32a4d9b0"
	goldenSealed  = "01d6ea9c6d623537396060d0baaa302297595b5ae4f39c0a44c0369549df9ac4a6f8d7f5695f8069b8325e88"
)
