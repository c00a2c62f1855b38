// Judges the history in a file with porcupine, and prints how long that took. Reading is not timed.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/anishathalye/porcupine"
)

type row struct {
	Key     string `json:"key"`
	Caller  int    `json:"caller"`
	F       string `json:"f"`
	Old     int    `json:"old"`
	New     int    `json:"new"`
	Seen    int    `json:"seen"`
	Swapped bool   `json:"swapped"`
	Call    int64  `json:"call"`
	Return  int64  `json:"return"`
}

// A register or a counter for each key; -1: nothing yet.
var model = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		places := map[string]int{}
		parts := [][]porcupine.Operation{}
		for _, operation := range history {
			key := operation.Input.(row).Key
			place, known := places[key]
			if !known {
				place = len(parts)
				places[key] = place
				parts = append(parts, nil)
			}
			parts[place] = append(parts[place], operation)
		}
		return parts
	},
	Init: func() interface{} { return -1 },
	Step: func(state, input, _ interface{}) (bool, interface{}) {
		value, one := state.(int), input.(row)
		switch one.F {
		case "add":
			if value < 0 {
				value = 0
			}
			return one.Seen == value+1, value + 1
		case "read":
			return one.Seen == value, value
		case "write":
			return true, one.New
		}
		if value == one.Old {
			return one.Swapped, one.New
		}
		return !one.Swapped, value
	},
}

func main() {
	data, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	var rows []row
	if err := json.Unmarshal(data, &rows); err != nil {
		panic(err)
	}
	history := make([]porcupine.Operation, 0, len(rows))
	for _, one := range rows {
		history = append(history, porcupine.Operation{
			ClientId: one.Caller, Input: one, Call: one.Call, Output: nil, Return: one.Return,
		})
	}
	began := time.Now()
	found := porcupine.CheckOperations(model, history)
	fmt.Printf("{\"elapsed_s\": %f, \"ok\": %t}\n", time.Since(began).Seconds(), found)
}
