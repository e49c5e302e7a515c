"""Some programs of the actor machine. `bin/fuzz-actors` plays as many as one likes."""

from tests.simulation.actors.machine import ActorMachine, machine_settings

EXAMPLES = 200  # some 5 seconds

TestActorMachine = ActorMachine.TestCase
TestActorMachine.settings = machine_settings(EXAMPLES)
